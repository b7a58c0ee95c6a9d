package TB::Interrupt;

# perl -MTB::Interrupt t/x.t: a test that is told to stop stops its servers
# first.

use strict;
use warnings;

$SIG{TERM} = $SIG{INT} = sub { exit 1 };


1;
