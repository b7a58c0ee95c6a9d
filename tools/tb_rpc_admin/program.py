# Copyright (C) tb-rpc contributors.

"""The command line: which commands there are, and how one is run."""

import argparse
import sys

from . import VERSION
from .errors import Failure
from .settings import OPTIONS, Settings
from .store import Store
from .terminal import NAME, Gone, Terminal, say

WRONG = 2
INTERRUPTED = 130

# where commands are, and what they begin with: only those are loaded; the order
# of --help
SUBJECTS = [('keys', 'keygen'), ('jwt', 'jwt'), ('devices', 'device shard'),
            ('importing', 'device'), ('tokens', 'token'),
            ('api_keys', 'api-key'), ('users', 'user'),
            ('functions', 'functions'), ('calling', 'call'), ('calls', 'calls'), ('records', 'record'),
            ('bridges', 'bridge'), ('status', 'status'), ('watch', 'watch'),
            ('check', 'check')]

# commands that were there before they had a second word: what is typed now
# may be what it was then
OLD = {'import': ['device', 'import']}

# what is meant where none of a group's commands is named
FIRST = {'jwt': 'make', 'calls': 'list'}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter,
                         **more)

    def error(self, message):
        say('%s\n%s --help shows the usage' % (message, self.prog))
        sys.exit(WRONG)


class Command:
    """One of them; run(program) does it, and may return an exit code."""

    def __init__(self, words, run, parser, summary, example):
        self.words, self.run, self.parser = words, run, parser
        self.summary, self.example = summary, example


class Commands:
    """Collects them while subjects register theirs."""

    def __init__(self):
        self.all, self.groups = [], {}
        self.parser = Parser(prog=NAME, add_help=False)
        self.top = self.parser.add_subparsers(dest='word', metavar='COMMAND')
        self.parser.add_argument('-h', '--help', action='store_true')
        self.parser.add_argument('--version', action='version',
                                 version='%s %s' % (NAME, VERSION))
        common(self.parser)

    def add(self, words, run, summary, example, more=None):
        """A command of one or two words; its parser, for its arguments."""
        names = words.split()
        level = self.top

        if len(names) == 2:
            level = self.group(names[0])

        parser = level.add_parser(
            names[-1], prog='%s %s' % (NAME, words), add_help=True,
            description=summary[0].upper() + summary[1:] + '.'
            + ('\n\n' + more if more else ''),
            epilog='Options of all commands: "%s --help".\n\nexample:\n  %s'
            % (NAME, example.replace('\n', '\n  ')))
        own = parser.add_argument_group('arguments')
        common(parser, silent=True)
        command = Command(words, run, parser, summary, example)
        parser.set_defaults(command=command)
        self.all.append(command)

        return own

    def group(self, name):
        if name not in self.groups:
            parser = self.top.add_parser(name, add_help=False,
                                         prog='%s %s' % (NAME, name))
            parser.add_argument('-h', '--help', action='store_true')
            common(parser, silent=True)
            self.groups[name] = parser.add_subparsers(metavar='COMMAND')
            parser.set_defaults(group=name)

        return self.groups[name]

    def help(self, group=None):
        listed = [c for c in self.all if group is None
                  or c.words.split()[0] == group]
        width = max(len(c.words) for c in listed)
        lines = ['usage: %s [OPTION ...] %s ...' % (NAME, group or 'COMMAND'),
                 '']
        lines += ['  %-*s  %s' % (width, c.words, c.summary.split(';')[0])
                  for c in listed]
        lines += ['', '"%s COMMAND --help" has the arguments and an example.'
                  % NAME, '', 'options, before or behind the command:', '']

        for name, metavar, text in OPTIONS:
            option = '--' + name + (' ' + metavar if metavar else '')
            lines.append('  %-36s %s' % (option, text))

        lines += ['', 'Each may be in the environment, too (--redis-user is'
                  ' TB_RPC_REDIS_USER), or be a', 'line "redis-user NAME" of'
                  ' the configuration file.', '',
                  'Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3'
                  ' done, but too few', 'replicas have it (--redis-wait), 130'
                  ' interrupted.', '']

        return '\n'.join(lines)


def common(parser, silent=False):

    for name, metavar, text in OPTIONS:
        more = {'action': 'store_true'}

        if metavar:
            more = {'metavar': metavar,
                    'action': 'append' if name == 'redis' else 'store'}

        parser.add_argument('--' + name, default=argparse.SUPPRESS,
                            help=argparse.SUPPRESS if silent else text,
                            **more)


class Program:
    """What a command works with."""

    def __init__(self, options):
        self.options = options
        self.settings = Settings(options)
        self.terminal = Terminal(self.settings.json)
        self.opened = None

    @property
    def store(self):
        if self.opened is None:
            self.opened = Store(self.settings)
        return self.opened


def commands(first=None):
    """Those that begin with this word, registered; where there are none, or
    without a word, all."""
    found = Commands()
    names = [name for name, words in SUBJECTS if first in words.split()]

    for name in names or [name for name, _ in SUBJECTS]:
        module = __import__('%s.%s' % (__package__, name), fromlist=[name])
        module.register(found)

    return found


def behind(argv, i):
    """The place of what is behind the options of all commands."""
    takes = {'--' + name: 1 + bool(metavar) for name, metavar, _ in OPTIONS}

    while i < len(argv) and argv[i].startswith('-'):
        name, equals, _ = argv[i].partition('=')
        if name not in takes:
            break
        i += 1 if equals else takes[name]

    return i


def first_word(argv):
    return (argv[behind(argv, 0):] or [None])[0]


def renewed(argv):
    """The old words as the new ones."""
    i = behind(argv, 0)

    return argv[:i] + OLD.get(first_word(argv), argv[i:i + 1]) + argv[i + 1:]


def modern(argv, groups):
    """"calls DEVICE" as "calls list"."""
    i = behind(argv, 0)

    if i >= len(argv):
        return argv

    word = argv[i]
    second = argv[behind(argv, i + 1):][:1]

    if word in FIRST and second and second[0] not in ('-h', '--help') \
            and second[0] not in groups[word].choices:
        return argv[:i + 1] + [FIRST[word]] + argv[i + 1:]
    if word == 'help':
        return argv[:i] + ['--help'] + argv[i + 1:]

    return argv


def run(argv):
    """The exit code."""
    argv = renewed(argv)
    known = commands(first_word(argv))
    options = known.parser.parse_args(modern(argv, known.groups))

    if getattr(options, 'command', None) is None:
        group = getattr(options, 'group', None)
        asked = options.help
        text = known.help(group)

        if asked:
            Terminal(False).write(text)
            return 0

        if group:
            say('%s: what of it?  %s %s --help' % (group, NAME, group))
        else:
            sys.stderr.write(text)

        return WRONG

    return options.command.run(Program(options)) or 0


def main(argv=None):
    # names are any bytes, terminals are not always UTF-8
    for stream in sys.stdout, sys.stderr:
        if stream is not None:
            stream.reconfigure(errors='backslashreplace')

    try:
        status = run(sys.argv[1:] if argv is None else argv)
    except Failure as e:
        say(e)
        status = e.status
    except Gone:
        status = 0
    except KeyboardInterrupt:
        say('interrupted')
        status = INTERRUPTED

    sys.exit(status)
