/* Complete the processor state that user-mode Linux before 7.0 hands to ptrace.
 *
 * Those kernels have a buffer of 2,696 bytes for it (HOST_FP_SIZE, arch/x86/um/user-offsets.c), and the machine's kernel takes
 * PTRACE_SETREGSET of NT_X86_XSTATE only whole (xstateregs_set, arch/x86/kernel/fpu/regset.c). A processor with more state, such
 * as AMX, makes them panic at their first process: "ptrace set fp regs failed, errno = 14". Loaded before libc, this puts what
 * the guest has over what its process has, and hands that on.
 *
 * What lies behind the guest's buffer is not carried from one stop of a process to the next (the machine's kernel clears it
 * for the signals by which the guest learns of page faults). With AMX those are its tiles, and a process may use them only after
 * arch_prctl(ARCH_REQ_XCOMP_PERM), which user-mode Linux refuses.
 *
 * Built by scripts/build-xstate, used by the lab where xstate-try.c finds that it is needed. The guest calls ptrace on the small
 * stacks of its own threads, so all that is large or slow is static, and found out at the start.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { LEGACY = 512, COMPONENTS = 63, LARGEST = 65536 };

static long (*next)(enum __ptrace_request, pid_t, void *, void *);
static size_t end_of[COMPONENTS]; /* offset of each component's last byte, plus one; 0 for one that this processor lacks */

__attribute__((constructor)) static void begin(void)
{
	unsigned int size, offset, flags, rest;

	next = (long (*)(enum __ptrace_request, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
	for (int component = 2; component < COMPONENTS; component++)
		if (__get_cpuid_count(0xd, component, &size, &offset, &flags, &rest) && size)
			end_of[component] = offset + size;
}

/* Put *length* bytes of *have* over the *whole* state; whether a component that ends behind them is in use stays as it is. */
static void put_over(char *whole, const char *have, size_t length)
{
	uint64_t before, used;

	memcpy(&before, whole + LEGACY, sizeof before);
	memcpy(whole, have, length);
	memcpy(&used, whole + LEGACY, sizeof used);
	if (length < LEGACY + sizeof used)
		used |= 3; /* x87 and SSE, which came without the word that says so */
	for (int component = 2; component < COMPONENTS; component++)
		if (end_of[component] > length)
			used = (used & ~(1ULL << component)) | (before & (1ULL << component));
	memcpy(whole + LEGACY, &used, sizeof used);
}

long ptrace(enum __ptrace_request request, ...)
{
	static char whole[LARGEST] __attribute__((aligned(64)));
	struct iovec state = {whole, sizeof whole};
	va_list words;

	va_start(words, request);
	pid_t pid = va_arg(words, pid_t);
	void *address = va_arg(words, void *), *data = va_arg(words, void *);
	va_end(words);
	if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE)
		return next(request, pid, address, data);

	const struct iovec *given = data;
	if (given->iov_len < LEGACY || next(PTRACE_GETREGSET, pid, address, &state) || state.iov_len <= given->iov_len)
		return next(request, pid, address, data);
	put_over(whole, given->iov_base, given->iov_len);
	return next(request, pid, address, &state);
}
