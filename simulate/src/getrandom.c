/* Loaded before the simulation, this makes every random number follow from the seed that the environment names: keys of
 * hash maps, uuids, tokio's choices. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

__attribute__((constructor)) static void begin(void) {
    const char *seed = getenv("SIMULATE_SEED");
    state = seed ? strtoull(seed, NULL, 10) : 1;
}

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    (void)flags;
    unsigned char *bytes = buffer;
    for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
        uint64_t number = next();
        size_t rest = length - at;
        memcpy(bytes + at, &number, rest < sizeof number ? rest : sizeof number);
    }
    return (ssize_t)length;
}

/* The wall clock: a microsecond later at each look. Only libraries look at it, for names. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int64_t looks;
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, now);
    looks += 1000;
    now->tv_sec = 1780272000 + looks / 1000000000;
    now->tv_nsec = looks % 1000000000;
    return 0;
}
