# Copyright (C) tb-rpc contributors.

"""The function library."""

import os
import re
import subprocess

from .errors import Failure
from .replies import redis_error, words

HERE = os.path.dirname(os.path.realpath(__file__))


def register(commands):
    own = commands.add(
        'functions load', load, 'the function library, unless Redis has the'
        ' same or a newer version',
        'tb-rpc-admin functions load', 'nginx does that, too, when it starts.')
    own.add_argument('file', metavar='FILE', nargs='?',
                     help='as the build leaves it in tb_rpc.lua (the one that'
                          ' came with this program)')


def text_of(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as e:
        raise Failure('cannot read %s: %s' % (path, e.strerror))


def ours():
    """(text, where) of the library that came with us: installed beside the
    package, or in a checkout."""
    installed = os.path.join(os.path.dirname(HERE), 'tb_rpc.lua')
    script = os.path.join(HERE, '..', '..', 'script', 'functions')

    if os.path.exists(installed):
        return text_of(installed), installed
    if os.path.exists(script):
        done = subprocess.run(['sh', script], stdout=subprocess.PIPE)
        if done.returncode == 0:
            return done.stdout, os.path.normpath(script)

    raise Failure('functions load FILE: %s is not there' % installed)


def version_in(text, where):
    """It says its version itself; what is asked of the file is only whether
    it is newer."""
    m = re.search(rb'^local VERSION = (\d{1,9})', text, re.M)

    if not m:
        raise Failure('%s has no line "local VERSION = N"' % where)

    return int(m.group(1))


def version_of(reply, store):
    """What a server says of its own, or nothing."""
    if redis_error(reply):
        if 'unction not found' in words(reply):
            return None
        raise store.failed(reply, 'FCALL tb_rpc_version: ')

    return int(reply)


def load(program):
    path, store = program.options.file, program.store
    text, where = ours() if path is None else (text_of(path), path)
    want, loaded = version_in(text, where), 0
    have = {}

    for link in store.server.masters():
        reply = link.many([('FCALL', 'tb_rpc_version', 0)])[0]
        have[link] = version_of(reply, store)

    if all(version is not None and version >= want
           for version in have.values()):
        low = min(have.values())
        program.terminal.done('Redis has version %d, the file %d: nothing to'
                              ' do' % (low, want), version=low, loaded=0)
        return

    store.check_schema()

    for link, version in have.items():
        if version is None or version < want:
            reply = link.many([('FUNCTION', 'LOAD', 'REPLACE', text)])[0]
            if redis_error(reply):
                raise store.failed(reply, 'FUNCTION LOAD: ')
            loaded += 1

    program.terminal.done('version %d loaded%s' % (want, '' if loaded == 1
                          else ' into %d masters' % loaded),
                          version=want, loaded=loaded)
