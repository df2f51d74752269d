# SPDX-License-Identifier: GPL-2.0
"""All end-to-end tests, in the order in which they run."""

from tests.e2e import test_io
from tests.e2e import test_loss
from tests.e2e import test_ana
from tests.e2e import test_ana_log
from tests.e2e import test_delayed_removal
from tests.e2e import test_pcie
from tests.e2e import test_sysfs
from tests.e2e import test_operations
from tests.e2e import test_zoned
from tests.e2e import test_passthrough
from tests.e2e import test_change
from tests.e2e import test_policy
from tests.e2e import test_reservations
from tests.e2e import test_events
from tests.e2e import test_modules
from tests.e2e import test_samples
from tests.e2e import test_bad_drivers
from tests.e2e import test_path_errors
from tests.e2e import test_numa
from tests.e2e import test_mark
from tests.e2e import test_flush
from tests.e2e import test_waiting
from tests.e2e import test_failing_paths
from tests.e2e import test_fence
from tests.e2e.case import cases

assert test_io and test_loss and test_ana and test_ana_log and test_delayed_removal
assert test_pcie and test_sysfs and test_operations and test_zoned and test_passthrough and test_change
assert test_policy and test_reservations and test_events and test_modules
assert test_samples and test_bad_drivers and test_path_errors and test_numa and test_mark
assert test_flush and test_waiting and test_failing_paths and test_fence

CASES = cases
#: Those that run unless one asks for more.
SHORT = [name for name, case in cases.items() if not case.long]
