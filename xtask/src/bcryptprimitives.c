/* The one function of bcryptprimitives.dll that Rust's standard library takes its random numbers from, for a Wine that has no
   such library. For tests alone. */
#include <windows.h>

/* RtlGenRandom of advapi32.dll, by the name that it is exported under. */
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
    const SIZE_T most = 0x10000000;
    while (length > 0) {
        SIZE_T piece = length < most ? length : most;
        if (!SystemFunction036(data, (ULONG)piece)) return FALSE;
        data += piece;
        length -= piece;
    }
    return TRUE;
}
