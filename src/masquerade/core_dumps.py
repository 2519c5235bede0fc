"""Write no core dump of a process that crashes, as it would hold raw pictures."""

import resource


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process and of those that it starts.

    It is a setting of the whole process, so that commands make it and a library does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
