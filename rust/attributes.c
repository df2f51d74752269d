// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of a head's disk, for drivers that have no other place for them.
 * Each calls the function of the C interface that does its job.
 */
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/multipath.h>
#include <linux/sysfs.h>

static struct mpath_head *to_head(struct device *dev)
{
	return mpath_gendisk_to_head(dev_to_disk(dev));
}

static ssize_t iopolicy_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mpath_iopolicy *iopolicy = mpath_head_iopolicy(to_head(dev));

	return sysfs_emit(buf, "%s\n", mpath_iopolicy_name(mpath_iopolicy_read(iopolicy)));
}

static ssize_t iopolicy_store(struct device *dev, struct device_attribute *attr, const char *buf,
			      size_t count)
{
	int policy = mpath_iopolicy_parse(buf);

	if (policy >= 0)
		policy = mpath_iopolicy_set(mpath_head_iopolicy(to_head(dev)), policy);
	return policy < 0 ? policy : count;
}
static DEVICE_ATTR_RW(iopolicy);

static ssize_t delayed_removal_secs_show(struct device *dev, struct device_attribute *attr,
					 char *buf)
{
	return mpath_delayed_removal_secs_show(to_head(dev), buf);
}

static ssize_t delayed_removal_secs_store(struct device *dev, struct device_attribute *attr,
					  const char *buf, size_t count)
{
	return mpath_delayed_removal_secs_store(to_head(dev), buf, count);
}
static DEVICE_ATTR_RW(delayed_removal_secs);

static struct attribute *mpath_head_attrs[] = {
	&dev_attr_iopolicy.attr, &dev_attr_delayed_removal_secs.attr, NULL,
};

/* A driver may use one list of groups for heads and paths. */
static umode_t mpath_head_attr_is_visible(struct kobject *kobj, struct attribute *attr, int index)
{
	return is_mpath_disk(dev_to_disk(kobj_to_dev(kobj))) ? attr->mode : 0;
}

const struct attribute_group mpath_head_attr_group = {
	.attrs = mpath_head_attrs, .is_visible = mpath_head_attr_is_visible,
};
