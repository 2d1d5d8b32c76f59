// Side B: everything is chosen and checked, the locks are not taken yet.
@@
expression dst, src, arg;
identifier ret;
@@
 migrate_swap(...)
 {
 	<+...
+	kv_swap_begin(src, dst);
 	ret = stop_two_cpus(dst, src, migrate_swap_stop, arg);
+	kv_swap_end(src);
 	...+>
 }

@@
@@
 #include "sched.h"
+#include "kv_amplify.h"
