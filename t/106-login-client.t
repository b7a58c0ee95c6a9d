# tb_rpc_login and ThingsBoard's Python client, as it is: it logs in, calls,
# refreshes its tokens by itself when they expire, changes a password, logs out.
# TB_REST_CLIENT names the folder that has its package tb_rest_client; Python
# needs requests, certifi, dateutil, six and jwt for it.
#
# runs: side by side, 10 s

use strict;
use warnings;

use Test::More;

use TB::Env qw(file_in);
use TB::Fixture;
use TB::Login;
use TB::Mqtt qw(output);
use TB::Nginx;
use TB::Token qw($CUSTOMER $NULL_UUID);

my $client = $ENV{TB_REST_CLIENT};

plan skip_all => 'TB_REST_CLIENT names no folder with tb_rest_client'
    if !defined $client || !-d "$client/tb_rest_client";

local $ENV{PYTHONPATH} = $client;
local $ENV{PYTHONDONTWRITEBYTECODE} = 1;

my ($status, $text) = output('/usr/bin/python3', '-c',
    'from tb_rest_client.rest_client_ce import RestClientCE');

plan skip_all => "the client can't run: " . (split /\n/, $text)[-1]
    if $status;

redis();
device('d1', bridge => 'b1');
user('ann@example.com', password => 'correct horse', first => 'Ann');
user($CUSTOMER, hash => '', id => $NULL_UUID, customer => $CUSTOMER,
     authority => 'CUSTOMER_USER');

my $bridge = bridge();
my $nginx = TB::Nginx->start(
    http => 'tb_rpc_login_scrypt ln=10 r=8 p=1;',
    config => <<'_EOC_');
    location /api/rpc/         { tb_rpc v2; }
    location /api/plugins/rpc/ { tb_rpc v1; }
    location /api/auth/        { tb_rpc_login; tb_rpc_login_token_time 3s; }
_EOC_

my $script = file_in('client.py', <<'_EOC_');
import sys
import time
from tb_rest_client.models.models_ce import ChangePasswordRequest, DeviceId
from tb_rest_client.rest_client_ce import RestClientCE

url, device, public = sys.argv[1:]


def say(what, value):
    print('%s: %s' % (what, value), flush=True)


def call(client, value):
    return client.handle_two_way_device_rpc_request(
        DeviceId(device, 'DEVICE'), {'method': 'echo', 'params': value})


with RestClientCE(url) as client:
    client.login('ann@example.com', 'correct horse')
    first = client.get_token()
    say('call', call(client, 7))
    say('user', client.get_user().email)

    # the thread of the client refreshes when the token expires
    end = time.time() + 20
    while client.get_token() == first and time.time() < end:
        time.sleep(0.1)
    say('another token', client.get_token() != first)
    say('call', call(client, 8))

    pair = client.change_password(ChangePasswordRequest(
        current_password='correct horse', new_password='battery staple'))
    client.login('ann@example.com', 'battery staple')
    say('call', call(client, 9))
    refresh = client.token_info['refreshToken']
    client.logout()
    client.stopped = True
    client.token_info['refreshToken'] = refresh
    client.refresh()
    say('after logout', client.get_token())

client = RestClientCE(url)
client.login('ann@example.com', 'wrong')
say('wrong', client.get_token())
client.public_login(public)
say('public', client.get_token() is not None)
_EOC_

($status, $text) = output('timeout', 60, '/usr/bin/python3', $script,
                          "http://127.0.0.1:$nginx->{port}", macro('d1'),
                          $CUSTOMER);

is($text, <<'_EOC_', 'all of it') or diag $nginx->access_log();
call: 7
user: ann@example.com
another token: True
call: 8
call: 9
after logout: None
wrong: None
public: True
_EOC_
is($status, 0, 'it ends well');

$nginx->clean();
$nginx->stop();

done_testing();
