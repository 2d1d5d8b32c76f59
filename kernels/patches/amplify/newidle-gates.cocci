// A migration thread that goes to sleep balances whatever that is expected to cost: neither what else
// such a test asks nor how it is put together matters.
@@
identifier fn = { sched_balance_newidle, newidle_balance, idle_balance };
identifier rq;
expression cost;
statement S;
@@
 fn(...)
 {
 	<+...
 	if (
+	    kv_gate(
 	    <+... rq->avg_idle < cost ...+>
+	    )
 	   ) S
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
+	kv_gate(d1k > weight)
 	...>
 }
