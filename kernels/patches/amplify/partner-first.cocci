// Where a swap waits for this CPU, take its CPU for the busiest one: any CPU may be chosen.
@@
identifier fn = { sched_balance_rq, load_balance };
identifier find_group = { sched_balance_find_src_group, find_busiest_group };
identifier find_queue = { sched_balance_find_src_rq, find_busiest_queue };
identifier cpus, idle;
expression mask;
statement S;
@@
 fn(int this_cpu, ..., enum cpu_idle_type idle, ...)
 {
 	...
 	struct rq *busiest;
+	struct rq *partner;
 	...
 	struct cpumask *cpus = mask;
 	<+...
 	group = find_group(&env);
-	if (!group)
+	partner = kv_partner(this_cpu, cpus, idle);
+	if (!group && !partner)
 		S
 	...
-	busiest = find_queue(&env, group);
+	busiest = partner ? partner : find_queue(&env, group);
 	...+>
 }
