// SPDX-License-Identifier: GPL-2.0
/*
 * Exports what ffi.rs defines: Rust cannot export from a module by itself.
 */
#include <linux/export.h>
#include <linux/multipath.h>

#include "helpers.h"

EXPORT_SYMBOL_GPL(mpath_port_init);
EXPORT_SYMBOL_GPL(mpath_port_init_sharing);
EXPORT_SYMBOL_GPL(mpath_port_exit);
EXPORT_SYMBOL_GPL(mpath_port_in_flight);
EXPORT_SYMBOL_GPL(mpath_port_set_state);
EXPORT_SYMBOL_GPL(mpath_port_set_name);
EXPORT_SYMBOL_GPL(mpath_iopolicy_init);
EXPORT_SYMBOL_GPL(mpath_iopolicy_parse);
EXPORT_SYMBOL_GPL(mpath_iopolicy_name);
EXPORT_SYMBOL_GPL(mpath_iopolicy_set);
EXPORT_SYMBOL_GPL(mpath_alloc_head);
EXPORT_SYMBOL_GPL(mpath_head_iopolicy);
EXPORT_SYMBOL_GPL(mpath_get_head);
EXPORT_SYMBOL_GPL(mpath_tryget_head);
EXPORT_SYMBOL_GPL(mpath_put_head);
EXPORT_SYMBOL_GPL(mpath_alloc_head_disk);
EXPORT_SYMBOL_GPL(mpath_try_remove_head);
EXPORT_SYMBOL_GPL(mpath_remove_head);
EXPORT_SYMBOL_GPL(mpath_head_devices_empty);
EXPORT_SYMBOL_GPL(mpath_head_is_live);
EXPORT_SYMBOL_GPL(mpath_head_queue_if_no_path);
EXPORT_SYMBOL_GPL(mpath_set_delayed_removal_secs);
EXPORT_SYMBOL_GPL(mpath_synchronize);
EXPORT_SYMBOL_GPL(mpath_synchronize_submitters);
EXPORT_SYMBOL_GPL(mpath_kick_requeue);
EXPORT_SYMBOL_GPL(mpath_add_device);
EXPORT_SYMBOL_GPL(mpath_quiesce_device);
EXPORT_SYMBOL_GPL(mpath_delete_device);
EXPORT_SYMBOL_GPL(mpath_remove_device);
EXPORT_SYMBOL_GPL(mpath_enable_device);
EXPORT_SYMBOL_GPL(mpath_disable_device);
EXPORT_SYMBOL_GPL(mpath_device_set_access_state);
EXPORT_SYMBOL_GPL(mpath_device_set_numa_node);
EXPORT_SYMBOL_GPL(mpath_device_set_live);
EXPORT_SYMBOL_GPL(mpath_clear_current_path);
EXPORT_SYMBOL_GPL(mpath_clear_paths);
EXPORT_SYMBOL_GPL(mpath_revalidate_paths);
EXPORT_SYMBOL_GPL(mpath_catch_up);
EXPORT_SYMBOL_GPL(mpath_failover);
EXPORT_SYMBOL_GPL(mpath_failover_fenced);
EXPORT_SYMBOL_GPL(mpath_failover_request);
EXPORT_SYMBOL_GPL(mpath_failover_request_fenced);
EXPORT_SYMBOL_GPL(mpath_fence_alloc);
EXPORT_SYMBOL_GPL(mpath_fence_get);
EXPORT_SYMBOL_GPL(mpath_fence_put);
EXPORT_SYMBOL_GPL(mpath_fence_start);
EXPORT_SYMBOL_GPL(mpath_fence_open);
EXPORT_SYMBOL_GPL(mpath_fence_held);
EXPORT_SYMBOL_GPL(mpath_fence_msecs_left);
EXPORT_SYMBOL_GPL(mpath_bio_failovers);
EXPORT_SYMBOL_GPL(mpath_call_for_device);
EXPORT_SYMBOL_GPL(mpath_call_for_all_devices);
EXPORT_SYMBOL_GPL(mpath_cdev_ioctl);
EXPORT_SYMBOL_GPL(mpath_cdev_uring_cmd);
EXPORT_SYMBOL_GPL(mpath_bdev_submit_bio);
EXPORT_SYMBOL_GPL(mpath_bdev_open);
EXPORT_SYMBOL_GPL(mpath_bdev_release);
EXPORT_SYMBOL_GPL(mpath_bdev_ioctl);
EXPORT_SYMBOL_GPL(mpath_bdev_compat_ioctl);
EXPORT_SYMBOL_GPL(mpath_bdev_getgeo);
EXPORT_SYMBOL_GPL(mpath_bdev_get_unique_id);
EXPORT_SYMBOL_GPL(mpath_bdev_report_zones);
EXPORT_SYMBOL_GPL(mpath_pr_ops);
EXPORT_SYMBOL_GPL(mpath_attr_group);
EXPORT_SYMBOL_GPL(mpath_head_attr_group);
EXPORT_SYMBOL_GPL(mpath_add_sysfs_links);
EXPORT_SYMBOL_GPL(mpath_remove_sysfs_link);
EXPORT_SYMBOL_GPL(mpath_numa_nodes_show);
EXPORT_SYMBOL_GPL(mpath_delayed_removal_secs_show);
EXPORT_SYMBOL_GPL(mpath_delayed_removal_secs_store);
EXPORT_SYMBOL_GPL(mpath_requeue_count);
EXPORT_SYMBOL_GPL(mpath_fail_count);

/* The Rust face, which is inlined into the drivers' modules, calls these. */
EXPORT_SYMBOL_GPL(mpath_helper_alloc_path_disk);
EXPORT_SYMBOL_GPL(mpath_helper_get_module);
EXPORT_SYMBOL_GPL(mpath_helper_bio_enter_again);
EXPORT_SYMBOL_GPL(mpath_helper_request_start);
EXPORT_SYMBOL_GPL(mpath_helper_request_done);
EXPORT_SYMBOL_GPL(mpath_helper_disk_leave);
EXPORT_SYMBOL_GPL(mpath_helper_bio_segment);
EXPORT_SYMBOL_GPL(mpath_helper_fill_segment);
EXPORT_SYMBOL_GPL(mpath_helper_zero_segment);
EXPORT_SYMBOL_GPL(mpath_helper_store_segment);
