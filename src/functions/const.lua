-- Numbers and names that more than one file needs.

local const = {
    PUBLISH_MAX = 16384,        -- bytes; larger answers are fetched
    GRACE = 3000,               -- ms a worker has to cancel by itself
    WINDOW = 16,                -- calls of a device that are queued or taken
                                -- and not acknowledged, under burst
    RELEASE = 16,               -- calls released at once
    DRAIN = 50,                 -- ms until the next release of a backlog
    RETRY = 1000,               -- ms until a full queue is tried again
    CONFIG_TTL = 100,           -- ms until settings are read again
    CONFIRM = 1000,             -- ms a call that was handed to a poll is left
                                -- alone when the device polls again

    IDS = 2147483648,           -- 2^31
    BAND = 4398046511104,       -- 2^42, between two statuses of the index

    QUEUED = 0,
    SENT = 1,
    DELIVERED = 2,
    SUCCESSFUL = 3,
    TIMEOUT = 4,
    EXPIRED = 5,
    FAILED = 6,

    BRIDGE = '^[%w%.%_:@%-]+$'
}

const.STATUS = { [0] = 'QUEUED', 'SENT', 'DELIVERED', 'SUCCESSFUL',
                 'TIMEOUT', 'EXPIRED', 'FAILED' }


return const
