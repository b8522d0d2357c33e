/* Loaded before libc into user-mode Linux: it sets LENGTH bytes of its processes' state at most, as on a machine that has more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static long (*next)(enum __ptrace_request, pid_t, void *, void *);

__attribute__((constructor)) static void begin(void)
{
	next = (long (*)(enum __ptrace_request, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list words;

	va_start(words, request);
	pid_t pid = va_arg(words, pid_t);
	void *address = va_arg(words, void *), *data = va_arg(words, void *);
	va_end(words);
	if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE && ((struct iovec *)data)->iov_len > LENGTH)
		((struct iovec *)data)->iov_len = LENGTH;
	return next(request, pid, address, data);
}
