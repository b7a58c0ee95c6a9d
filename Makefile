
# Copyright (C) tb-rpc contributors.
#
# make                 the bridge and the function library, into build/
# make module          the module for the nginx that is installed (script/build)
# make install         the bridge, the tools, their man pages, the completion
#                      and the systemd unit
# make install-module  the module, as root, to where nginx looks for it
# make uninstall       takes away what "install" has put there
#
# Nothing is downloaded.  CC, CFLAGS and LDFLAGS are heeded, DESTDIR stands
# before every path: make install DESTDIR=/tmp/package PREFIX=/usr

PREFIX = /usr/local
bindir = $(PREFIX)/bin
libdir = $(PREFIX)/lib
pkglibdir = $(libdir)/tb-rpc
mandir = $(PREFIX)/share/man
man1dir = $(mandir)/man1
completiondir = $(PREFIX)/share/bash-completion/completions
unitdir = $(PREFIX)/lib/systemd/system
moduledir = /usr/lib/nginx/modules

BUILD = $(CURDIR)/build
INSTALL = install

MODULES = ngx_http_tb_rpc_module.so ngx_stream_tb_mqtt_module.so
BRIDGE = tb-rpc-mqtt-bridge
ADMIN = tb-rpc-admin

all: bridge library

bridge:
	@mkdir -p "$(BUILD)"
	$(MAKE) -C bridge BUILD="$(BUILD)"

library:
	@mkdir -p "$(BUILD)"
	sh script/functions > "$(BUILD)/tb_rpc.lua.tmp"
	mv "$(BUILD)/tb_rpc.lua.tmp" "$(BUILD)/tb_rpc.lua"

module:
	script/build --module-only

install: all
	$(INSTALL) -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(man1dir)" \
	    "$(DESTDIR)$(pkglibdir)/tb_rpc_admin" "$(DESTDIR)$(unitdir)" \
	    "$(DESTDIR)$(completiondir)"
	$(INSTALL) -m 755 "$(BUILD)/$(BRIDGE)" "$(DESTDIR)$(bindir)/$(BRIDGE)"
	sed 's|^INSTALLED = .*|INSTALLED = "$(pkglibdir)"|' tools/$(ADMIN) \
	    > "$(DESTDIR)$(bindir)/$(ADMIN)"
	chmod 755 "$(DESTDIR)$(bindir)/$(ADMIN)"
	$(INSTALL) -m 644 tools/tb_rpc_admin/*.py \
	    "$(DESTDIR)$(pkglibdir)/tb_rpc_admin"
	$(INSTALL) -m 644 "$(BUILD)/tb_rpc.lua" "$(DESTDIR)$(pkglibdir)"
	$(INSTALL) -m 644 tools/$(ADMIN).1 bridge/$(BRIDGE).1 \
	    "$(DESTDIR)$(man1dir)"
	$(INSTALL) -m 644 tools/$(ADMIN).bash \
	    "$(DESTDIR)$(completiondir)/$(ADMIN)"
	sed 's|=/usr/bin/|=$(bindir)/|' bridge/$(BRIDGE).service \
	    > "$(DESTDIR)$(unitdir)/$(BRIDGE).service"
	chmod 644 "$(DESTDIR)$(unitdir)/$(BRIDGE).service"

install-module:
	for module in $(MODULES); do \
	    $(INSTALL) -D -m 644 "$(BUILD)/$$module" \
	        "$(DESTDIR)$(moduledir)/$$module" || exit 1; \
	done

uninstall:
	rm -f "$(DESTDIR)$(bindir)/$(BRIDGE)" "$(DESTDIR)$(bindir)/$(ADMIN)" \
	    "$(DESTDIR)$(man1dir)/$(ADMIN).1" \
	    "$(DESTDIR)$(man1dir)/$(BRIDGE).1" \
	    "$(DESTDIR)$(completiondir)/$(ADMIN)" \
	    "$(DESTDIR)$(unitdir)/$(BRIDGE).service"
	rm -rf "$(DESTDIR)$(pkglibdir)"

.PHONY: all bridge library module install install-module uninstall
