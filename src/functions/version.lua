-- tb_rpc_version

local pairs = pairs


-- tb_rpc_version: runs every file, so that one that can't run is noticed by who
-- loads the library, and not by a call
--
-- keys      none
-- arguments none
-- replies   VERSION
-- errors    what is wrong with a file

local function version()
    for file in pairs(bodies) do
        use(file)
    end

    return VERSION
end


return { version = version }
