/*
 * Queues that are locked and woken like a kernel's stoppers, to be compiled in every form that the fix
 * has had. Nothing of it ever runs: it is only read.
 *
 *   FORM 0 wakes with the lock held, 1 through a wake_q, 2 by name once the lock is dropped
 *   HELD 0 nobody turns preemption off, 1 around the wake-up of two, 2 from within the locks on, 3 around everything;
 *        the queue for one is covered by 1 and more
 *   COUNTED  preemption is counted
 *   INLINED  locks are dropped in line
 */
#define OUT_OF_LINE __attribute__((noinline, used))
#define IN_LINE static inline __attribute__((always_inline))
#define USE(x) asm volatile("" : : "r"(x) : "memory")

#ifdef COUNTED
#define preempt_disable() asm volatile("incl %%gs:0x1234" : : : "memory")
#define preempt_enable() asm volatile("decl %%gs:0x1234" : : : "memory")
#else
#define preempt_disable() asm volatile("" : : : "memory")
#define preempt_enable() preempt_disable()
#endif

struct list { struct list *next, *prev; };
struct box { void *thread; int lock; _Bool on; struct list jobs; };
struct job { struct list list; void *what; int *left; };
struct wakes { void *first; };

static struct box boxes[64];
static volatile _Bool busy;

OUT_OF_LINE unsigned long _raw_spin_lock_irqsave(int *lock) { preempt_disable(); USE(lock); return 1; }
OUT_OF_LINE void _raw_spin_lock(int *lock) { preempt_disable(); USE(lock); }
OUT_OF_LINE void _raw_spin_unlock_irqrestore(int *lock, unsigned long flags) { USE(lock); USE(flags); preempt_enable(); }
OUT_OF_LINE void wake_up_process(void *thread) { USE(thread); }
OUT_OF_LINE void wake_q_add(struct wakes *wakes, void *thread) { USE(wakes); USE(thread); }
OUT_OF_LINE void wake_up_q(struct wakes *wakes) { USE(wakes); }
OUT_OF_LINE void complete(void *what) { USE(what); }
OUT_OF_LINE int migrate_swap_stop(void *what) { USE(what); return 0; }
#ifdef INLINED
IN_LINE void drop(int *lock) { *(volatile char *)lock = 0; preempt_enable(); }
#else
OUT_OF_LINE void _raw_spin_unlock(int *lock) { USE(lock); preempt_enable(); }
#define drop _raw_spin_unlock
#endif

/* As with a kernel's per-CPU variables, the compiler does not know where it points. */
IN_LINE struct box *box_of(unsigned cpu)
{
	struct box *box;

	asm("" : "=r"(box) : "0"(&boxes[cpu]));
	return box;
}

static void __cpu_stop_queue_work(struct box *box, struct job *job, struct wakes *wakes)
{
	struct list *last = box->jobs.prev;

	box->jobs.prev = &job->list;
	job->list.next = &box->jobs;
	job->list.prev = last;
	last->next = &job->list;
	if (FORM == 0)
		wake_up_process(box->thread);
	if (FORM == 1)
		wake_q_add(wakes, box->thread);
}

static _Bool cpu_stop_queue_work(unsigned cpu, struct job *job)
{
	struct box *box = box_of(cpu);
	struct wakes wakes = { &wakes };
	unsigned long flags;
	_Bool on;

	if (HELD)
		preempt_disable();
	flags = _raw_spin_lock_irqsave(&box->lock);
	on = box->on;
	if (on)
		__cpu_stop_queue_work(box, job, &wakes);
	else if (job->left && !--*job->left)
		complete(job->left);
	_raw_spin_unlock_irqrestore(&box->lock, flags);
	if (FORM == 1)
		wake_up_q(&wakes);
	if (FORM == 2 && on)
		wake_up_process(box->thread);
	if (HELD)
		preempt_enable();
	return on;
}

static int cpu_stop_queue_two_works(unsigned one, struct job *first, unsigned other, struct job *second)
{
	struct box *a = box_of(one), *b = box_of(other);
	struct wakes wakes = { &wakes };
	int error;

again:
	if (HELD == 3)
		preempt_disable();
	_raw_spin_lock(&a->lock);
	_raw_spin_lock(&b->lock);
	error = -2;
	if (!a->on || !b->on)
		goto out;
	error = -35;
	if (busy)
		goto out;
	error = 0;
	__cpu_stop_queue_work(a, first, &wakes);
	__cpu_stop_queue_work(b, second, &wakes);
	if (HELD == 2)
		preempt_disable();
out:
	drop(&b->lock);
	drop(&a->lock);
	if (error == -35) {
		if (HELD == 3)
			preempt_enable();
		while (busy)
			asm volatile("pause");
		goto again;
	}
	if (!error) {
		if (HELD == 1)
			preempt_disable();
		if (FORM == 1)
			wake_up_q(&wakes);
		if (FORM == 2) {
			wake_up_process(a->thread);
			wake_up_process(b->thread);
		}
		if (HELD == 1 || HELD == 2)
			preempt_enable();
	}
	if (HELD == 3)
		preempt_enable();
	return error;
}

OUT_OF_LINE int stop_two_cpus(unsigned one, unsigned other, void *what)
{
	int left = 2;
	struct job first = { .what = what, .left = &left }, second = first;

	if (cpu_stop_queue_two_works(one, &first, other, &second))
		return -2;
	complete(&left);
	return left;
}

OUT_OF_LINE int stop_one_cpu(unsigned cpu, void *what)
{
	int left = 1;
	struct job job = { .what = what, .left = &left };

	if (!cpu_stop_queue_work(cpu, &job))
		return -2;
	complete(&left);
	return left;
}

OUT_OF_LINE _Bool stop_one_cpu_nowait(unsigned cpu, void *what, struct job *job)
{
	*job = (struct job){ .what = what };
	return cpu_stop_queue_work(cpu, job);
}

void _stext(void)
{
	stop_two_cpus(1, 2, 0);
	stop_one_cpu(1, 0);
	stop_one_cpu_nowait(1, 0, 0);
	migrate_swap_stop(0);
}
