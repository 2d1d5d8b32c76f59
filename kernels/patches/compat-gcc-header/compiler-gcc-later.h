/* SPDX-License-Identifier: GPL-2.0 */
/* For gcc 5 and later, in kernels that have a header for each major version of gcc up to 4 or 5. */
#if __has_include(<linux/compiler-gcc5.h>)
#include <linux/compiler-gcc5.h>
#else

#define __used __attribute__((used))
#define __must_check __attribute__((warn_unused_result))
#define __compiler_offsetof(type, member) __builtin_offsetof(type, member)
#define __cold __attribute__((cold))
#define __noclone __attribute__((noclone))
#define __visible __attribute__((externally_visible))
#define __UNIQUE_ID(prefix) __PASTE(__PASTE(__UNIQUE_ID_, prefix), __COUNTER__)
#define unreachable() __builtin_unreachable()

/* The empty asm is the kernel's barrier after an asm goto. */
#define asm_volatile_goto(code...)	\
	do {				\
		asm goto(code);		\
		asm ("");		\
	} while (0)

#ifndef __CHECKER__
#define __compiletime_warning(text) __attribute__((warning(text)))
#define __compiletime_error(text) __attribute__((error(text)))
#endif

#ifdef CONFIG_ARCH_USE_BUILTIN_BSWAP
#define __HAVE_BUILTIN_BSWAP16__
#define __HAVE_BUILTIN_BSWAP32__
#define __HAVE_BUILTIN_BSWAP64__
#endif

#endif
