// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps virtio devices awake while the guest is suspended to idle. The guest's root is on one of
 * them, over 9p, whose driver cannot suspend: it resets the device, and the root is gone.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/pci.h>

static void stay_awake(bool awake)
{
	struct pci_dev *pdev = NULL;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_REDHAT_QUMRANET, PCI_ANY_ID, pdev)))
		dev_pm_syscore_device(&pdev->dev, awake);
}

static int __init stay_awake_init(void)
{
	stay_awake(true);
	return 0;
}
module_init(stay_awake_init);

static void __exit stay_awake_exit(void)
{
	stay_awake(false);
}
module_exit(stay_awake_exit);

MODULE_DESCRIPTION("Keeps virtio devices awake while the system is suspended");
MODULE_LICENSE("GPL");
