package TB::MqttFront;

# An nginx that devices log in to: TB::Nginx with a server of
# ngx_stream_tb_mqtt_module, on the Redis of the test (TB::Fixture).
#
#     my $front = TB::MqttFront->start(broker_port => $port);
#     my ($id, $token) = $front->device('a');     of the default tenant
#     $front->{port}                              where devices connect to
#     $front->stream_log()                        "status [id] [tenant] [client
#                                                 id] [version] [refused]" a line
#     $front->session($id)                        that Redis has, or undef
#
# Options: username, password (at the broker), mqtt_server (more directives of
# its server), servers (more servers), mqtt_more (more of stream{}), mqtt_listen
# (parameters), bridge (b1), ttl, cache, delay (tb_mqtt_session_ttl and so on),
# redis_more (of stream's tb_rpc_redis), and those of TB::Nginx.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Test::More ();

use TB::Env qw(file_in free_port);
use TB::Fixture qw(redis macro);
use TB::Nginx;

our @ISA = qw(TB::Nginx);


sub start {
    my ($class, %opt) = @_;

    Test::More::plan(skip_all => 'no stream module')
        if !TB::Nginx::has_stream();

    my $self = $class->SUPER::start(mqtt_port => free_port(), %opt,
                                    stream => \&stream);

    # the port of HTTP is that of TB::Nginx

    @$self{qw(http_port port)} = @$self{qw(port mqtt_port)};

    return $self;
}


sub configure {
    my ($self, %opt) = @_;

    local $self->{port} = $self->{http_port} if $self->{http_port};

    return $self->SUPER::configure(%opt);
}


sub stream {
    my ($self) = @_;

    my %o = (servers => '', mqtt_server => '', mqtt_more => '',
             mqtt_listen => '', redis_more => '', ttl => '60s', bridge => 'b1',
             cache => '0', delay => '0', %$self);

    my $redis = $o{redis_server} || 'redis://127.0.0.1:'
                                    . ($o{redis_port} || macro('redis_port'));
    my $broker = '';

    $broker .= "tb_mqtt_username  $o{username};\n" if defined $o{username};
    $broker .= 'tb_mqtt_password_file  '
               . file_in('broker.password', "$o{password}\n") . ";\n"
        if defined $o{password};

    return <<"_EOC_";
    log_format  mqtt  '\$status [\$tb_mqtt_device_id] [\$tb_mqtt_tenant_id] '
                      '[\$tb_mqtt_client_id] [\$tb_mqtt_version] '
                      '[\$tb_mqtt_refused]';
    access_log  stream.log mqtt;

    tb_rpc_redis {
        server    $redis;
        username  nginx;
        password  nginx-secret;
        $o{redis_more}
    }

    tb_mqtt_session_ttl   $o{ttl};
    tb_mqtt_cache         $o{cache};
    tb_mqtt_refuse_delay  $o{delay};
    $o{mqtt_more}

    upstream broker {
        server  127.0.0.1:$o{broker_port};
    }

    server {
        listen         127.0.0.1:$self->{mqtt_port} backlog=4096 $o{mqtt_listen};
        tb_mqtt        $o{bridge};
        $broker
        proxy_pass     broker;
        proxy_timeout  24h;
        $o{mqtt_server}
    }

    $o{servers}
_EOC_
}


sub device {
    my ($self, $name, %opt) = @_;

    my $id = TB::Fixture::device($name, %opt);
    my $token = $opt{token} || "token of $name";

    redis()->call('SET', 'tb:token:' . sha256_hex($token), $id);

    return ($id, $token);
}


sub session {
    my ($self, $id) = @_;

    return redis()->call('HGET', redis()->device_key($id), 'session');
}


# calls go to the port of HTTP

sub open {
    my $self = shift;

    local $self->{port} = $self->{http_port};

    return $self->SUPER::open(@_);
}


sub get {
    my $self = shift;

    local $self->{port} = $self->{http_port};

    return $self->SUPER::get(@_);
}


sub stream_log { return $_[0]->file_text('stream.log') }


1;
