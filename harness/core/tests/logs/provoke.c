// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the kernel fail in the ways that lkdtm and test_lockup do not offer: insmod provoke.ko how=abba
 * Only for recording console logs.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

static char *how = "";
module_param(how, charp, 0400);

static DEFINE_MUTEX(provoke_a);
static DEFINE_MUTEX(provoke_b);
static DEFINE_SPINLOCK(provoke_spin);
static DEFINE_SPINLOCK(provoke_spin2);
static void *keep;

static void abba(void)
{
	mutex_lock(&provoke_a);
	mutex_lock(&provoke_b);
	mutex_unlock(&provoke_b);
	mutex_unlock(&provoke_a);
	mutex_lock(&provoke_b);
	mutex_lock(&provoke_a);
	mutex_unlock(&provoke_a);
	mutex_unlock(&provoke_b);
}

static void take_spin(void *unused)
{
	spin_lock(&provoke_spin);
	spin_unlock(&provoke_spin);
}

static void irq_state(void)
{
	take_spin(NULL);
	smp_call_function_single((raw_smp_processor_id() + 1) % num_online_cpus(), take_spin, NULL, 1);
}

static void spin_long(struct work_struct *work)
{
	unsigned long end = jiffies + 18 * HZ;

	while (time_before(jiffies, end))
		cpu_relax();
}
static DECLARE_WORK(spin_work, spin_long);

static int rcu_reader(void *unused)
{
	unsigned long end = jiffies + 25 * HZ;

	rcu_read_lock();
	while (time_before(jiffies, end)) {
		touch_softlockup_watchdog();
		cpu_relax();
	}
	rcu_read_unlock();
	return 0;
}

static void hold_irqs_off(void *unused)
{
	mdelay(60000);
}

static int waiter(void *unused)
{
	spin_lock(&provoke_spin);
	spin_unlock(&provoke_spin);
	return 0;
}

static int __init provoke(void)
{
	volatile long zero = 0;
	char *p;

	if (!strcmp(how, "abba"))
		abba();
	else if (!strcmp(how, "recursive")) {
		spin_lock(&provoke_spin);
		spin_lock_nested(&provoke_spin2, 0);
		spin_unlock(&provoke_spin2);
		spin_unlock(&provoke_spin);
	} else if (!strcmp(how, "irq"))
		irq_state();
	else if (!strcmp(how, "unlock"))
		mutex_unlock(&provoke_a);
	else if (!strcmp(how, "held")) {
		mutex_lock(&provoke_a);
		p = kmalloc(64, GFP_KERNEL);
		kfree(p);
	} else if (!strcmp(how, "rcuusage"))
		RCU_LOCKDEP_WARN(1, "provoked on purpose");
	else if (!strcmp(how, "sleep")) {
		spin_lock(&provoke_spin);
		might_sleep();
		spin_unlock(&provoke_spin);
	} else if (!strcmp(how, "atomic")) {
		preempt_disable();
		schedule_timeout_uninterruptible(1);
		preempt_enable();
	} else if (!strcmp(how, "wq"))
	{
		schedule_work_on(1, &spin_work);
		return 0;
	}
	else if (!strcmp(how, "rcu"))
		wake_up_process(kthread_create_on_cpu(rcu_reader, NULL, 1, "provoke/%u"));
	else if (!strcmp(how, "csd"))
		smp_call_function_single(1, hold_irqs_off, NULL, 1);
	else if (!strcmp(how, "spinlock")) {
		spin_lock(&provoke_spin);
		wake_up_process(kthread_create_on_cpu(waiter, NULL, 1, "provoke/%u"));
		ssleep(60);
	} else if (!strcmp(how, "leak")) {
		keep = kmalloc(200, GFP_KERNEL);
		keep = kmalloc(200, GFP_KERNEL);
		keep = NULL;
	} else if (!strcmp(how, "oob")) {
		p = kmalloc(64, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(p);
		zero = p[64];
		kfree(p);
	} else if (!strcmp(how, "uaf")) {
		int i;

		for (i = 0; i < 20000; i++) {
			p = kmalloc(128, GFP_KERNEL);
			OPTIMIZER_HIDE_VAR(p);
			kfree(p);
			zero = p[8];
			if (!(i % 100))
				msleep(2);
			if (i == 1000)
				break;
		}
	} else if (!strcmp(how, "divide"))
		zero = 1 / zero;
	else if (!strcmp(how, "gpf"))
		zero = *(volatile char *)0x6b6b6b6b6b6b6b6bUL;
	else if (!strcmp(how, "paging"))
		zero = *(volatile char *)0xffffc8dead000000UL;
	else if (!strcmp(how, "int3"))
		asm volatile("int3");
	else if (!strcmp(how, "badpage")) {
		struct page *page = alloc_page(GFP_KERNEL);

		__set_bit(PG_locked, &page->flags);
		page->mapping = (void *)0x1000;
		__free_page(page);
	} else if (!strcmp(how, "doublefault"))
		asm volatile("mov $0x10, %%rsp; push %%rax" ::: "memory");
	else if (!strcmp(how, "quoted"))
		pr_info("expecting Kernel panic - not syncing: Hard LOCKUP soon\n");
	return -EAGAIN;
}
module_init(provoke);
MODULE_DESCRIPTION("Provokes kernel reports");
MODULE_LICENSE("GPL");
