// A migration thread that goes to sleep balances whatever that is expected to cost.
@@
identifier fn = { sched_balance_newidle, newidle_balance, idle_balance };
expression overload_gate, cost;
@@
 fn(...)
 {
 	<+...
(
-	overload_gate || this_rq->avg_idle < cost
+	!kv_stopper_sleeps(CPU_NEWLY_IDLE) && (overload_gate || this_rq->avg_idle < cost)
|
-	this_rq->avg_idle < cost || overload_gate
+	!kv_stopper_sleeps(CPU_NEWLY_IDLE) && (this_rq->avg_idle < cost || overload_gate)
|
-	this_rq->avg_idle < cost
+	!kv_stopper_sleeps(CPU_NEWLY_IDLE) && this_rq->avg_idle < cost
)
 	...+>
 }

// NI_RANDOM: only newer kernels throw dice.
@@
identifier fn = { sched_balance_newidle, newidle_balance };
@@
 fn(...)
 {
 	<...
-	d1k > weight
+	!kv_stopper_sleeps(CPU_NEWLY_IDLE) && d1k > weight
 	...>
 }
