# the function library: one text, and that as a byte array for the compiler

tb_rpc_lua_deps="$ngx_addon_dir/script/functions"

for tb_rpc_file in `sh $ngx_addon_dir/script/functions --files`
do
    tb_rpc_lua_deps="$tb_rpc_lua_deps $ngx_addon_dir/$tb_rpc_file"
done

cat << END                                                    >> $NGX_MAKEFILE

$NGX_OBJS/tb_rpc.lua:	$tb_rpc_lua_deps
	sh $ngx_addon_dir/script/functions > \$@.tmp
	mv \$@.tmp \$@

$NGX_OBJS/ngx_http_tb_rpc_lua.h:	$NGX_OBJS/tb_rpc.lua
	{ echo 'static u_char  ngx_http_tb_rpc_lua[] = {' \\
	  && od -An -v -tx1 $NGX_OBJS/tb_rpc.lua \\
	     | sed -e 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g' \\
	  && echo '};'; } > \$@.tmp
	mv \$@.tmp \$@

END

# of all objects only this one has it

cat << END                                                    >> $NGX_MAKEFILE

$NGX_OBJS/addon/store/ngx_http_tb_rpc_library.$ngx_objext: \
	$NGX_OBJS/ngx_http_tb_rpc_lua.h

END

# what tb_rpc_docs serves, the same way

cat << END                                                    >> $NGX_MAKEFILE

$NGX_OBJS/ngx_http_tb_rpc_openapi.h:	$ngx_addon_dir/src/docs/openapi.json
	{ echo 'static u_char  ngx_http_tb_rpc_openapi[] = {' \\
	  && od -An -v -tx1 $ngx_addon_dir/src/docs/openapi.json \\
	     | sed -e 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g' \\
	  && echo '};'; } > \$@.tmp
	mv \$@.tmp \$@

$NGX_OBJS/addon/docs/ngx_http_tb_rpc_docs_document.$ngx_objext: \
	$NGX_OBJS/ngx_http_tb_rpc_openapi.h

END
