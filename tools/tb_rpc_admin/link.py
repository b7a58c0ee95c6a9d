# Copyright (C) tb-rpc contributors.

"""A connection to a Redis: opened, spoken on, and what breaks it in words.

Thousands of commands are written before their replies are read.
"""

import socket

from .errors import Failure
from .replies import ErrorReply, words

CONNECT = 10                            # s, TLS included
REPLY = 60
MANY = 2000                             # commands sent before replies are read
CHUNK = 65536                           # bytes
LINE = 1 << 20                          # no line of a reply is longer
DEPTH = 16                              # lists in lists


class Garbage(Exception):
    """What came is no reply of a Redis."""


class Lost(Failure):
    """The connection broke; what was done is not known."""


def encode(commands):
    """As one text of bytes."""
    out = bytearray()

    for command in commands:
        out += b'*%d\r\n' % len(command)
        for arg in command:
            if not isinstance(arg, bytes):
                arg = str(arg).encode('utf-8', 'surrogateescape')
            out += b'$%d\r\n%s\r\n' % (len(arg), arg)

    return bytes(out)


class Replies:
    """Of a socket, one after another."""

    def __init__(self, sock):
        self.sock, self.data, self.at = sock, b'', 0

    def receive(self, size=CHUNK):
        data = self.sock.recv(size)

        if not data:
            raise ConnectionError('the connection was closed')

        return data

    def wait(self):
        """Until there is something to read, or the socket's time is up."""
        if self.at == len(self.data):
            self.data, self.at = self.receive(), 0

    def line(self):
        while True:
            end = self.data.find(b'\r\n', self.at)

            if end >= 0:
                line, self.at = self.data[self.at:end], end + 2
                return line

            if len(self.data) - self.at > LINE:
                raise Garbage

            self.data, self.at = self.data[self.at:] + self.receive(), 0

    def bulk(self, size):
        end = self.at + size + 2

        if end > len(self.data):
            parts = [self.data[self.at:]]
            left = end - len(self.data)

            while left > 0:
                parts.append(self.receive(max(left, CHUNK)))
                left -= len(parts[-1])

            self.data, self.at = b''.join(parts), 0
            end = size + 2

        if self.data[end - 2:end] != b'\r\n':
            raise Garbage

        text, self.at = self.data[self.at:end - 2], end
        return text

    def read(self, depth=0):
        line = self.line()
        kind, text = line[:1], line[1:]

        if kind == b'+':
            return decoded(text)
        if kind == b'-':
            return ErrorReply(decoded(text))

        if kind not in (b':', b'$', b'*') or len(text) > 20 \
                or not text.lstrip(b'-').isdigit() or depth > DEPTH:
            raise Garbage

        n = int(text)

        if kind == b':':
            return n
        if n < 0:
            return None
        if kind == b'$':
            return decoded(self.bulk(n))
        return [self.read(depth + 1) for _ in range(n)]


def decoded(data):
    return data.decode('utf-8', 'surrogateescape')


class Link:
    """A connection, opened when it is first used.

    An address is (scheme, host or path, port); login the words of AUTH, or
    none; context is what the ssl module makes.
    """

    def __init__(self, address, login=(), db=0, context=None, wait=REPLY):
        self.address, self.login, self.db = address, login, db
        self.context, self.wait = context, wait
        self.sock = self.replies = None

        scheme, host, port = address
        self.where = 'unix:' + host if scheme == 'unix' \
            else '%s://%s:%d' % ((scheme, host, port))

    def open(self):
        if self.sock is not None:
            return

        try:
            self.sock = self.connected()
            self.replies = Replies(self.sock)
            self.enter()
        except (Garbage, OSError) as e:
            self.close()
            raise Failure('%s: %s' % (self.where, broken(e)))

    def connected(self):
        scheme, host, port = self.address

        if scheme == 'unix':
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.create_connection((host, port), CONNECT)

        try:
            sock.settimeout(CONNECT)

            if scheme == 'unix':
                sock.connect(host)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            if scheme == 'rediss':
                sock = self.context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

        sock.settimeout(self.wait)

        return sock

    def enter(self):
        commands = [('AUTH',) + self.login] if self.login else []
        commands += [('SELECT', self.db)] if self.db else []

        self.sock.sendall(encode(commands))

        for reply in [self.replies.read() for _ in commands]:
            if isinstance(reply, ErrorReply):
                self.close()
                raise Failure('%s: %s' % (self.where, words(reply)))

    def close(self):
        if self.sock is not None:
            self.sock.close()
        self.sock = self.replies = None

    def many(self, commands):
        """Their replies; an error is an exception among them."""
        replies = []

        for i in range(0, len(commands), MANY):
            part = commands[i:i + MANY]
            self.send(part)
            replies += [self.reply() for _ in part]

        return replies

    def send(self, commands):
        self.open()

        try:
            self.sock.sendall(encode(commands))
        except OSError as e:
            self.lost(e)

    def reply(self):
        try:
            return self.replies.read()
        except (Garbage, OSError) as e:
            self.lost(e)

    def waits(self, seconds):
        """Is there anything to read within so many seconds?"""
        try:
            self.sock.settimeout(seconds)
            self.replies.wait()
            self.sock.settimeout(self.wait)
        except socket.timeout:
            self.sock.settimeout(self.wait)
            return False
        except OSError as e:
            self.lost(e)

        return True

    def lost(self, e):
        self.close()
        raise Lost('Redis: %s' % broken(e))

    def another(self):
        """A second connection to the same server."""
        return Link(self.address, self.login, self.db, self.context,
                    self.wait)


def broken(e):
    """What has broken a connection."""
    text = getattr(e, 'strerror', None) or str(e) or type(e).__name__
    kind = {c.__name__ for c in type(e).__mro__}

    if 'SSLCertVerificationError' in kind:
        return "the server's certificate: %s (--redis-ca)" % e.verify_message
    if 'SSLError' in kind or 'handshake' in text:
        return 'TLS: %s (is it a port with TLS?  --redis-cert?)' % text
    if isinstance(e, ConnectionResetError):
        return '%s (is it a port with TLS?  --redis-cert?)' % text
    if isinstance(e, Garbage):
        return 'that is no reply of a Redis'
    if isinstance(e, socket.timeout):
        return 'no reply in time'
    return text
