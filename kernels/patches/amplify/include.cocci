// Brings in the parameters, counters and helpers.
@@
@@
 #include "sched.h"
+#include "kv_amplify.c"
