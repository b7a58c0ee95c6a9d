# Copyright (C) tb-rpc contributors.

"""tb-rpc-admin: an operator's view of ngx_http_tb_rpc_module.

A command is a function in the file of its subject; program.py has their list.
What they share: settings (options, environment, file), store (Redis), values
(checks of what was typed) and terminal (what is printed, and how).
"""

VERSION = '0.2.0'
