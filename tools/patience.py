"""A notebook client that can't miss a message."""
from queue import Empty
from time import monotonic

from nbclient import NotebookClient


def in_short_waits(get_msg, step_s: float = 1):
    "`get_msg` of a channel, which looks at the socket anew each `step_s` seconds."
    async def wait(timeout: float | None = None):
        end = None if timeout is None else monotonic() + timeout
        while True:
            left = step_s if end is None else min(step_s, end - monotonic())
            try: return await get_msg(timeout=max(0, left))
            except Empty:
                if end is not None and monotonic() >= end: raise
    return wait


class PatientClient(NotebookClient):
    """ZeroMQ tells asyncio once that a message has come, and now and then, on a busy machine, asyncio doesn't get to know.
    Then nbclient sits before a finished cell until the cell's timeout, and only then looks: five minutes lost, or a failure.
    (What others saw of it: zeromq/pyzmq issues 1558 and 2173.)"""
    async def async_start_new_kernel_client(self):
        kc = await super().async_start_new_kernel_client()
        for channel in (kc.shell_channel, kc.iopub_channel): channel.get_msg = in_short_waits(channel.get_msg)
        return kc
