
# the function library, as a byte array for the compiler

cat << END                                                    >> $NGX_MAKEFILE

$NGX_OBJS/ngx_http_tb_rpc_lua.h:	$ngx_addon_dir/src/tb_rpc.lua
	{ echo 'static u_char  ngx_http_tb_rpc_lua[] = {' \\
	  && od -An -v -tx1 $ngx_addon_dir/src/tb_rpc.lua \\
	     | sed -e 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g' \\
	  && echo '};'; } > \$@.tmp
	mv \$@.tmp \$@

END

# of all objects only this one has it

cat << END                                                    >> $NGX_MAKEFILE

$NGX_OBJS/addon/src/ngx_http_tb_rpc_library.$ngx_objext: \
	$NGX_OBJS/ngx_http_tb_rpc_lua.h

END
