package TB;

# What every test file of this folder uses, on top of Test::Nginx::Socket:
#
#     use TB 'no_plan';
#
#     device('d1', bridge => 'b1');       # TB::Fixture has what can be made
#     bridge();
#
#     run_tests();
#
#     __DATA__
#
#     === TEST 1: a two-way call is answered
#     --- auth: tenant
#     --- request
#     POST /api/rpc/twoway/%{d1}
#     {"method":"echo","params":{"pin":7}}
#     --- response_body: {"pin":7}
#
# A private Redis, with the library loaded and under the documented ACL users,
# starts with the file and stops after nginx did.  Everything else, ports
# included, is of this file alone, so files may run side by side.
#
# Defaults of a block, each of which the block's own section replaces:
#
#   http_config        $TB::HTTP is put before it, unless it has a
#                      "tb_rpc_redis" of its own or the block has "--- no_redis"
#   config             $TB::CONFIG: v2 under /api/rpc/, v1 under
#                      /api/plugins/rpc/
#   error_code         200, as always with Test::Nginx
#   no_error_log       [alert], [crit], [emerg] are always added; a level that
#                      the block expects in "error_log" is left out
#   timeout            10 s
#
# A block with "must_die" needs no request; that it logs [emerg] is checked.
# After a failed log check Test::Nginx prints no plan: prove reports that as
# "No plan found", the failure is further up.
#
# Sections of our own:
#
#   --- auth: NAME     adds X-Authorization with the token of NAME: tenant,
#                      customer, other_customer, other_tenant, sys
#   --- no_redis       no tb_rpc_redis block
#   --- more_config    lines put after the default config
#   --- bodies, credentials, requests, answer
#                      tables of requests with their answers: see TB::Rows
#
# In request, more_headers, config, http_config, response_body and the like
# %{NAME} becomes what was defined under that name: tokens %{token:NAME} as
# above, ids %{tenant}, %{customer}, %{uuid:TEXT} (an id made from that text),
# what device() and set_macro() have named; %{redis_port}, %{redis_socket},
# %{jwt_key} (a file).

use strict;
use warnings;

# Compiled before Test::Nginx, so its END blocks run after Test::Nginx's:
# first nginx stops, then Redis.

use TB::Env qw(root build scratch free_port file_in scaled wait_for);
use TB::RedisServer;
use TB::Token qw(jwt jwt_with key_text);

BEGIN {
    $ENV{TEST_NGINX_SERVROOT} ||= scratch() . '/servroot';
    $ENV{TEST_NGINX_PORT} ||= free_port();
    $ENV{TEST_NGINX_LOAD_MODULES} = $ENV{TB_MODULE}
                                    || build() . '/ngx_http_tb_rpc_module.so'
        if !defined $ENV{TEST_NGINX_LOAD_MODULES};
    $ENV{TEST_NGINX_TIMEOUT} ||= scaled(10);
}

use Test::Nginx::Socket -base;

use TB::Fixture;
use TB::Rows;

our @EXPORT = (qw(redis bridge device api_key set_macro macro expand uuid_of
                  with_module jwt jwt_with free_port file_in scratch wait_for
                  scaled http_get http_post error_log_text));


our $HTTP = <<'_EOC_';
    tb_rpc_redis {
        server    redis://127.0.0.1:%{redis_port};
        username  nginx;
        password  nginx-secret;
    }

    tb_rpc_jwt_key  %{jwt_key};
_EOC_

our $CONFIG = <<'_EOC_';
    location /api/rpc/ {
        tb_rpc  v2;
    }

    location /api/plugins/rpc/ {
        tb_rpc  v1;
    }
_EOC_

my @expanded = qw(config http_config main_config more_config request
                  more_headers raw_request pipelined_requests response_body
                  response_body_like response_headers
                  raw_response_headers_like error_log no_error_log
                  user_files access_log);

no_long_string();

# above the default of tb_rpc_max_held
worker_connections(10240);


add_block_preprocessor(sub {
    my ($block) = @_;

    TB::Rows::convert($block);

    if (!defined $block->no_redis) {
        my $http = $block->http_config;

        $http = '' if !defined $http;

        if ($http !~ /\btb_rpc_redis\b/) {
            $http = $HTTP . $http;
        }

        $block->set_value('http_config', $http);
    }

    $block->set_value('config', $CONFIG) if !defined $block->config;

    if (defined $block->more_config) {
        $block->set_value('config', $block->config . $block->more_config);
    }

    if (defined $block->auth) {
        my $headers = $block->more_headers;

        $headers = '' if !defined $headers;
        $headers .= "\n" if length $headers && $headers !~ /\n\z/;
        $headers .= 'X-Authorization: Bearer %{token:' . $block->auth . "}\n";
        $block->set_value('more_headers', $headers);
    }

    for my $section (@expanded) {
        next if !defined $block->$section;

        $block->set_value($section, expand_all($block->$section));
    }

    $block->set_value('http_config', served($block->http_config))
        if defined $block->http_config;

    if (defined $block->must_die) {
        # what is expected need not be shown
        $block->set_value('suppress_stderr', '');
        $block->set_value('error_log', [flat($block->error_log), '[emerg]'])
            if defined $block->error_log;

        return;
    }

    my @unwanted = defined $block->no_error_log ? $block->no_error_log : ();
    my $wanted = defined $block->error_log ? join "\n", flat($block->error_log)
                                           : '';

    @unwanted = flat(@unwanted);

    for my $level ('alert', 'crit', 'emerg') {
        push @unwanted, "[$level]" if index($wanted, "[$level]") < 0
                                      && !grep { $_ eq "[$level]" } @unwanted;
    }

    $block->set_value('no_error_log', \@unwanted);
});


sub flat {
    return map { ref $_ eq 'ARRAY' ? @$_
                 : ref $_ ? $_ : grep { length } split /\n/, $_ } @_;
}


sub expand_all {
    my ($value) = @_;

    return [ map { expand_all($_) } @$value ] if ref $value eq 'ARRAY';
    return { map { $_ => expand_all($value->{$_}) } keys %$value }
        if ref $value eq 'HASH';

    # patterns stay as they are
    return $value if ref $value;

    return expand($value);
}


# Loads another nginx module before ours (or after it), or skips the file when
# it is not installed:  with_module('echo');  with_module('nchan', 'after');

sub with_module {
    my ($name, $where) = @_;

    my $file = $name eq 'nchan' ? 'ngx_nchan_module.so'
                                : "ngx_http_${name}_module.so";
    my ($path) = grep { defined && -e }
                 $ENV{'TB_' . uc($name) . '_MODULE'},
                 "/usr/lib/nginx/modules/$file",
                 build() . "/deps/modules/usr/lib/nginx/modules/$file";

    Test::More::plan(skip_all => "nginx has no $name module here")
        if !defined $path;

    my $loaded = $Test::Nginx::Util::LoadModules;

    $Test::Nginx::Util::LoadModules =
        ($where || 'before') eq 'after' ? "$loaded $path" : "$path $loaded";
}


# All of the present error log.

sub error_log_text {
    open my $fh, '<', server_root() . '/logs/error.log' or return '';
    local $/;

    return <$fh>;
}


1;
