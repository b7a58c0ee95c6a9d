package TB::Interrupt;

# perl -MTB::Interrupt t/x.t: a test that is told to stop stops its servers
# first, however often it is told.

use strict;
use warnings;

$SIG{TERM} = $SIG{INT} = sub {
    $SIG{TERM} = $SIG{INT} = 'IGNORE';
    exit 1;
};


1;
