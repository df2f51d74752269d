# SPDX-License-Identifier: GPL-2.0
"""Each mistake of a driver in C gets an error or a warning that names it, and nothing else happens.

Each test has the driver of tests/bad/ make one mistake, beside a driver that goes on with verified I/O. Both are
unloaded after the last test in a row. A test fails when a warning comes that it does not name, or when one that it
names does not.
"""

import pathlib
import time

from tests.e2e import bad
from tests.e2e.case import test
from tests.guest import modules
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.target import Target

ON_A_HEAD = "a path is added that is on a head"
NEVER_ADDED = "a path is used that has never been added to a head"
WITHOUT = "a path is added without a disk or without a port"
WAITS = "a callback waits for itself: it calls what must not be called from inside one"
NOT_ITS_BIO = "a bio is failed over that the head has not sent to the path: it is left in the list"
NOT_QUIESCED = "a path is deleted before mpath_quiesce_device(), which is done now"


# Paths

@test(within=bad.loaded, warns=(ON_A_HEAD,))
def bad_a_path_that_is_added_twice_is_refused():
    assert bad.make("add_twice") == "EEXIST"


@test(within=bad.loaded, warns=(ON_A_HEAD,))
def bad_a_path_that_is_added_to_two_heads_is_refused():
    assert bad.make("add_to_two_heads") == "EEXIST"


@test(within=bad.loaded, warns=("a path is added that readers of the head that it was on may still see: mpath_synchronize() is missing",))
def bad_a_path_that_readers_of_another_head_may_see_is_refused():
    """Shows A-11."""
    assert bad.make("add_elsewhere_at_once") == "EBUSY"


@test(within=bad.loaded)
def bad_a_path_that_nobody_sees_any_more_is_taken():
    """Shows A-11."""
    assert bad.make("add_elsewhere") == "ok"


@test(within=bad.loaded)
def bad_a_driver_that_wants_no_links_is_left_in_peace():
    """Shows A-13."""
    log = KernelLog()
    assert bad.make("no_links") == "ok"
    said = [line for line in log.new_lines() if "mpbad" in line]
    assert not said, f"the log says {said}"


@test(within=bad.loaded)
def bad_paths_of_a_head_without_a_disk_come_and_go_while_they_are_looked_at():
    """Shows A-8."""
    assert bad.make("watch_without_disk") == "ok"


@test(within=bad.loaded)
def bad_a_path_near_to_no_node_is_refused():
    assert bad.make("add_on_no_node") == "EINVAL"


@test(within=bad.loaded, warns=(WITHOUT,))
def bad_a_path_without_a_disk_is_refused():
    assert bad.make("add_without_disk") == "EINVAL"


@test(within=bad.loaded, warns=(WITHOUT,))
def bad_a_path_without_a_port_is_refused():
    """Shows L-10."""
    assert bad.make("add_without_port") == "EINVAL"


@test(within=bad.loaded, warns=("a path is added with a port that is not initialised",))
def bad_a_path_with_a_port_that_is_not_initialised_is_refused():
    assert bad.make("add_with_a_port_that_is_not_initialised") == "EINVAL"


@test(within=bad.loaded, warns=("a port is given up with requests in flight: mpath_request_done() is missing",))
def bad_a_port_with_requests_in_flight_is_kept():
    assert bad.make("give_a_port_up_too_early") == "ok"


@test(within=bad.loaded, warns=("a port is given up that is not initialised",))
def bad_a_port_is_given_up_once():
    assert bad.make("give_a_port_up_twice") == "ok"


@test(within=bad.loaded, warns=("a path is added whose disk is a head's",))
def bad_a_head_that_is_its_own_path_is_refused():
    assert bad.make("add_the_head_itself") == "EINVAL"


@test(within=bad.loaded)
def bad_a_path_to_a_dying_head_is_refused():
    assert bad.make("add_to_a_dying_head") == "ENXIO"


@test(within=bad.loaded)
def bad_the_log_says_what_is_missing_when_a_path_goes_live_that_cannot_be_used():
    for mistake, missing in (("live_without_enabling", "driver: path is set up"),
                             ("live_without_access_state", "storage: access state changes"),
                             ("live_on_a_dead_port", "nobody: its port is dead"), ("live", None)):
        log = KernelLog()
        assert bad.make(mistake) == "ok"
        said = [line for line in log.new_lines() if "no path can be used" in line and "mpbad0" in line]
        assert len(said) == (missing is not None), f"{mistake}: the log says {said}"
        assert not said or said[0].endswith(f"it waits for {missing}"), f"{mistake}: the log says {said}"


@test(within=bad.loaded, warns=(NEVER_ADDED,) * 8)
def bad_a_path_that_was_never_added_is_not_used():
    assert bad.make("use_unadded") == "EINVAL"


@test(within=bad.loaded, warns=(NEVER_ADDED,))
def bad_deleting_a_path_that_was_never_added_does_nothing():
    assert bad.make("delete_unadded") == "ok"


@test(within=bad.loaded, warns=(NEVER_ADDED,))
def bad_removing_a_path_that_was_never_added_does_nothing():
    """Shows A-7."""
    assert bad.make("remove_unadded") == "ok"


@test(within=bad.loaded)
def bad_a_path_that_was_removed_in_one_step_is_gone():
    """Shows A-7."""
    assert bad.make("remove_in_one_step") == "ok"


@test(within=bad.loaded, warns=("a path is set to a node that there is not: it stays where it is",))
def bad_a_path_does_not_move_to_a_node_that_there_is_not():
    assert bad.make("move_to_no_node") == "ok"


@test(within=bad.loaded, warns=("a path is deleted that is on no head",))
def bad_deleting_a_path_twice_does_nothing():
    assert bad.make("delete_twice") == "ok"


@test(within=bad.loaded, warns=(NOT_QUIESCED,))
def bad_a_path_that_is_deleted_at_once_is_quiesced():
    assert bad.make("delete_unquiesced") == "ok"


@test(within=bad.loaded)
def bad_a_path_of_a_head_without_a_disk_does_not_go_live():
    assert bad.make("live_without_disk") == "ENODEV"


@test(within=bad.loaded, warns=("attempted to be registered with empty name",))
def bad_a_disk_without_a_name_does_not_go_live():
    assert bad.make("live_without_name") == "EINVAL"


@test(within=bad.loaded)
def bad_a_path_that_was_removed_does_not_go_live():
    assert bad.make("live_after_removal") == "ENXIO"


@test(within=bad.loaded)
def bad_a_path_of_a_dead_head_does_not_go_live():
    assert bad.make("live_on_a_dead_head") == "ENXIO"


@test(within=bad.loaded, warns=(
    "a port is set to a state that there is not: it is dead",
    "a path is set to an access state that there is not: it is not used",
    "a path is enabled or disabled for a reason that there is not",
    "a path is enabled or disabled for a reason that there is not"))
def bad_states_that_there_are_not_are_not_taken():
    assert bad.make("unknown_states") == "ok"


# Callbacks

@test(within=bad.loaded, warns=(WAITS,))
def bad_a_callback_does_not_bring_a_path_up():
    assert bad.make("live_in_section") == "EDEADLK"


@test(within=bad.loaded, warns=(WAITS,))
def bad_a_callback_does_not_quiesce_a_path():
    assert bad.make("quiesce_in_section") == "ok"


@test(within=bad.loaded, warns=(NOT_QUIESCED, WAITS))
def bad_a_callback_does_not_delete_a_path():
    assert bad.make("delete_in_section") == "ok"


@test(within=bad.loaded, warns=(WAITS,))
def bad_a_callback_does_not_remove_a_path():
    """Shows A-7."""
    assert bad.make("remove_in_section") == "ok"


@test(within=bad.loaded, warns=(WAITS,))
def bad_a_callback_does_not_wait_for_readers():
    assert bad.make("synchronize_in_section") == "ok"


@test(within=bad.loaded, warns=(WAITS, WAITS))
def bad_a_callback_does_not_change_links():
    assert bad.make("links_in_section") == "ok"


@test(within=bad.loaded, warns=(WAITS,))
def bad_a_callback_does_not_end_a_head():
    assert bad.make("put_in_section") == "ok"


@test(within=bad.loaded, warns=(WAITS,))
def bad_add_cdev_does_not_bring_a_path_up():
    assert bad.make("live_in_add_cdev") == "EDEADLK"


@test(within=bad.loaded)
def bad_no_callback_is_not_called():
    assert bad.make("call_nothing") == "EINVAL"


# Templates

@test(within=bad.loaded)
def bad_a_template_without_release_is_refused():
    assert bad.make("no_release") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_without_add_cdev_is_refused():
    assert bad.make("no_add_cdev") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_without_del_cdev_is_refused():
    assert bad.make("no_del_cdev") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_without_ioctl_begin_is_refused():
    assert bad.make("no_ioctl_begin") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_without_ioctl_handle_is_refused():
    assert bad.make("no_ioctl_handle") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_without_operations_is_refused():
    assert bad.make("no_fops") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_with_operations_that_are_no_heads_is_refused():
    assert bad.make("other_fops") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_with_operations_of_another_module_is_refused():
    assert bad.make("foreign_fops") == "EINVAL"


@test(within=bad.loaded)
def bad_a_template_that_is_not_there_is_refused():
    assert bad.make("no_template") == "EINVAL"


@test(within=bad.loaded, warns=("a removal delay is set by a driver without remove_head: it is ignored",))
def bad_a_removal_that_nobody_carries_out_is_not_delayed():
    assert bad.make("delay_without_remove_head") == "EOPNOTSUPP"


# Policies

@test(within=bad.loaded)
def bad_a_policy_that_there_is_not_is_refused():
    assert bad.make("unknown_policy") == "EINVAL"


@test(within=bad.loaded)
def bad_supporting_policies_that_there_are_not_is_refused():
    assert bad.make("unknown_policies") == "EINVAL"


@test(within=bad.loaded)
def bad_a_policy_that_is_not_supported_is_refused():
    assert bad.make("policy_left_out") == "EINVAL"


@test(within=bad.loaded)
def bad_setting_a_policy_that_there_is_not_is_refused():
    assert bad.make("set_unknown_policy") == "EINVAL"


@test(within=bad.loaded, warns=("a policy is used that has never been initialised",))
def bad_a_policy_that_is_not_initialised_is_not_set():
    assert bad.make("set_uninitialised_policy") == "EINVAL"


@test(within=bad.loaded, warns=("a policy is used that has never been initialised",))
def bad_a_policy_that_is_not_initialised_is_not_followed():
    assert bad.make("follow_uninitialised_policy") == "EINVAL"


@test(within=bad.loaded)
def bad_a_head_follows_a_policy():
    assert bad.make("follow_no_policy") == "EINVAL"


@test(within=bad.loaded, warns=("a policy that heads follow is initialised again",))
def bad_a_policy_that_heads_follow_is_not_initialised_again():
    assert bad.make("initialise_policy_in_use") == "EBUSY"


# Heads

@test(within=bad.loaded)
def bad_a_head_has_one_disk():
    assert bad.make("two_disks") == "EEXIST"


@test(within=bad.loaded)
def bad_a_disk_on_no_node_is_refused():
    assert bad.make("disk_on_no_node") == "EINVAL"


@test(within=bad.loaded)
def bad_an_ioctl_on_a_head_without_a_disk_finds_no_path():
    assert bad.make("ioctl_without_disk") == "EAGAIN"


@test(within=bad.loaded, warns=("a head is removed that mpath_try_remove_head() has not decided about",))
def bad_a_head_that_has_paths_is_not_removed():
    assert bad.make("remove_undecided") == "ok"


@test(within=bad.loaded, warns=("a head is removed that has been removed",))
def bad_a_head_is_removed_once():
    assert bad.make("remove_twice") == "ok"


@test(within=bad.loaded, warns=("the last reference to a head that has paths is dropped: it is kept",))
def bad_a_head_that_has_paths_is_kept():
    assert bad.make("put_with_paths") == "ok"


@test(within=bad.loaded, warns=("the last reference to a head is dropped before mpath_remove_head(), which is done now",))
def bad_a_head_that_is_left_is_removed():
    assert bad.make("put_unremoved") == "ok"


@test(within=bad.loaded, warns=("a reference to a head is dropped that the driver does not have",))
def bad_an_openers_reference_is_not_the_drivers_to_drop():
    assert bad.make("put_too_often") == "ok"


@test(within=bad.loaded, warns=("a reference to a head is dropped that the driver does not have",))
def bad_a_head_that_is_being_released_has_no_reference_to_drop():
    assert bad.make("put_in_release") == "ok"


@test(within=bad.loaded, warns=("a reference to a head is taken after the last one was dropped",))
def bad_a_head_that_is_being_released_stays_so():
    assert bad.make("get_in_release") == "ok"


# Bios

@test(within=bad.loaded, warns=(NOT_ITS_BIO,))
def bad_a_bio_that_did_not_come_through_the_head_is_not_taken():
    assert bad.make("failover_foreign") == "ok"


@test(within=bad.loaded, warns=(NOT_ITS_BIO,))
def bad_a_bio_is_failed_over_once():
    assert bad.make("failover_twice") == "ok"


@test(within=bad.loaded, warns=(NOT_ITS_BIO,))
def bad_a_bio_is_failed_over_on_its_own_path():
    assert bad.make("failover_on_another_path") == "ok"


@test(within=bad.loaded, warns=(NOT_ITS_BIO,))
def bad_a_head_without_a_disk_takes_no_bio():
    assert bad.make("failover_without_disk") == "ok"


@test(within=bad.loaded)
def bad_a_bio_that_every_path_fails_ends():
    """Shows A-17."""
    with bad.broken_disk() as lower:
        begin = time.monotonic()
        assert bad.make("fail_everywhere", lower) == "EIO"
        assert (taken := time.monotonic() - begin) < 60 * wait.SLOWNESS, f"that took {taken:.0f} s"


@test
def bad_the_mark_of_a_head_means_nothing_to_a_disk_that_is_not_multipathed():
    """Shows A-9."""
    modules.unload()
    modules.load("nvme-core", multipath="N")
    with Target("bad", ports=("loop",)) as target:
        target.connect(target.ports[0])
        disk = wait.until(lambda: list(pathlib.Path("/sys/block").glob("nvme*n*")), "a disk")[0]
        with bad.loaded():
            assert bad.make("send_the_mark_on", f"/dev/{disk.name}") == "ok"
    modules.unload()
