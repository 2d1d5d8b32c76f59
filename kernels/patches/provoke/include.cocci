// Brings it into a file that every kernel builds in.
@@
@@
 #include <linux/kthread.h>
+#include "kv_provoke.c"
