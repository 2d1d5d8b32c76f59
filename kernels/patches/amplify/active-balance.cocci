// It may always active-balance ...
@gate@
identifier fn = { sched_balance_rq, load_balance };
identifier idle;
statement S;
@@
 fn(..., enum cpu_idle_type idle, ...)
 {
 	<+...
-	if (need_active_balance(&env))
+	if (kv_stopper_sleeps(idle) || need_active_balance(&env))
 		S
 	...+>
 }

// ... and waits for its partner before it takes the other stopper's lock: side A.
@depends on gate@
identifier gate.fn, gate.idle;
@@
 fn(...)
 {
 	<+...
+	kv_before_active_balance(this_cpu, cpu_of(busiest), idle);
 	stop_one_cpu_nowait(cpu_of(busiest), active_load_balance_cpu_stop, ...);
 	...+>
 }
