package TB::FaultCalls;

# The calls of t/fault-*.t, and what has become of them.
#
#     my $calls = TB::FaultCalls->new(nginx => $nginx, works => 'e1');
#
#     my $answer = $calls->persistent('d1');        params 1, for ten minutes
#     $calls->persistent('d1', '[2]', expires => 60)
#     id_of($answer)                      the rpcId
#     $calls->status($id or $answer)      of the record, or of HTTP: 404
#     $calls->done($row, 'what waited', $answer)    a test: it is SUCCESSFUL soon
#     $calls->again($row)                 a test: calls for "works" are answered
#     got($devices, '[2]')                how often devices (a TB::MqttDevices)
#                                         got a call with these params
#
# A row is a TB::FaultRow; without one it is before the first.

use strict;
use warnings;

use Exporter 'import';

use TB::Nginx;

our @EXPORT = qw(id_of got);


sub new {
    my ($class, %opt) = @_;

    return bless { %opt }, $class;
}


sub persistent {
    my ($self, $device, $params, %more) = @_;

    return $self->{nginx}->call($device, 'run', $params // '1', persistent => 1,
                                %more ? %more : (timeout => 600_000));
}


sub id_of {
    my ($answer) = @_;

    return ($answer->{body} =~ /([0-9a-f]{8}-[0-9a-f-]{27})/)[0];
}


sub status {
    my ($self, $which) = @_;

    my $id = ref $which ? id_of($which) : $which;
    my $r = $self->{nginx}->get("/api/rpc/persistent/$id");

    return $r->{status} == 200 ? ($r->{body} =~ /"status":"(\w+)"/)[0]
                               : $r->{status};
}


sub done {
    my ($self, $row, $what, $answer) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return soon { $self->status($answer) eq 'SUCCESSFUL' }
                "$row->{name}: $what", 60;
}


sub again {
    my ($self, $row) = @_;

    my $name = $row ? $row->{name} : 'before';

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return soon { $self->{nginx}->call($self->{works}, 'run', '[1]',
                                       timeout => 1000)->{status} == 200 }
                "$name: calls work again", 60;
}


sub got {
    my ($devices, $params) = @_;

    return scalar grep { $_->{params} eq $params } $devices->deliveries();
}


1;
