/* xstate-try LENGTH: set the first LENGTH bytes of a stopped process's processor state, as user-mode Linux does.
 *
 * Ends with 0 when the machine's kernel took them, and the state then is what was set, followed by what was there before; with 1
 * when it refused (EFAULT: not the whole state), with 2 when anything else is wrong. A processor without XSAVE has no such
 * state; user-mode Linux then uses another request, and there is nothing to refuse: 0. The lab asks for the length that
 * user-mode Linux before 7.0 has, and loads xstate.c when the answer is 1.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { XMM = 160, XMM_END = 416, IN_USE = 512, LARGEST = 65536 };

struct part {
	unsigned int start, end;
};
static struct part parts[] = {{XMM, XMM_END}, {0, 0}, {0, 0}, {0, 0}, {0, 0}}; /* SSE, then the components below */
static const int components[] = {1, 2, 5, 6, 7}; /* any bytes are valid in SSE, AVX and the three of AVX-512 */
enum { PARTS = sizeof components / sizeof *components };

static pid_t start_stopped(void)
{
	pid_t child = fork();

	if (child < 0)
		err(2, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(2);
		raise(SIGSTOP);
		_exit(0);
	}
	int status;
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		errx(2, "the process to trace did not stop");
	return child;
}

static size_t get(pid_t child, char *state)
{
	struct iovec all = {state, LARGEST};

	if (ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &all)) {
		if (errno == ENODEV)
			exit(0);
		err(2, "PTRACE_GETREGSET");
	}
	return all.iov_len;
}

static int set(pid_t child, char *state, size_t length)
{
	struct iovec some = {state, length};

	return ptrace(PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, &some) ? errno : 0;
}

static void find_parts(size_t whole)
{
	unsigned int size, offset, flags, rest;

	for (int i = 1; i < PARTS; i++)
		if (__get_cpuid_count(0xd, components[i], &size, &offset, &flags, &rest) && size && offset + size <= whole)
			parts[i] = (struct part){offset, offset + size};
}

/* Fill all parts with *byte*, and say that those which end in *start* to *end* are in use, and no other. */
static void fill(char *state, int byte, size_t start, size_t end)
{
	uint64_t used;

	memcpy(&used, state + IN_USE, sizeof used);
	for (int i = 0; i < PARTS; i++) {
		memset(state + parts[i].start, byte, parts[i].end - parts[i].start);
		used &= ~(1ULL << components[i]);
		if (start < parts[i].end && parts[i].end <= end)
			used |= 1ULL << components[i];
	}
	memcpy(state + IN_USE, &used, sizeof used);
}

static void compare(const char *state, size_t length, char set_to, char before)
{
	for (int i = 0; i < PARTS; i++)
		for (unsigned int at = parts[i].start; at < parts[i].end; at++)
			if (state[at] != (at < length ? set_to : before))
				errx(2, "byte %u is %#x after %zu bytes were set", at, state[at] & 0xff, length);
}

int main(int count, char **words)
{
	static char state[LARGEST] __attribute__((aligned(64)));
	const size_t length = count == 2 ? strtoul(words[1], NULL, 10) : 0;

	if (length == 0 || length > LARGEST)
		errx(2, "usage: xstate-try LENGTH, 1 to %d bytes", LARGEST);
	pid_t child = start_stopped();
	size_t whole = get(child, state);
	find_parts(whole);
	fill(state, 0x11, XMM_END, whole); /* not SSE: what is set below must say so itself */
	if ((errno = set(child, state, whole)))
		err(2, "PTRACE_SETREGSET of the whole state, %zu bytes", whole);
	fill(state, 0x22, 0, length);
	int answer = set(child, state, length);
	if (answer == EFAULT)
		return 1;
	if ((errno = answer))
		err(2, "PTRACE_SETREGSET of %zu bytes", length);
	get(child, state);
	compare(state, length, 0x22, 0x11);
	return 0;
}
