// Look for a better CPU again on the next tick, not after up to a second.
@@
expression soon;
@@
 numa_migrate_preferred(...)
 {
 	<+...
-	p->numa_migrate_retry = soon;
+	p->numa_migrate_retry = jiffies + 1;
 	...+>
 }
