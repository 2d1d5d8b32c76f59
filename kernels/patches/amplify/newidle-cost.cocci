// Its waits are not charged: they would raise max_newidle_lb_cost until nobody balances any more.
@@
identifier fn = { sched_balance_newidle, newidle_balance, idle_balance };
expression spent;
@@
 fn(...)
 {
 	<+...
-	domain_cost = spent;
+	domain_cost = kv_stopper_sleeps(CPU_NEWLY_IDLE) ? 0 : spent;
 	...+>
 }
