/* The first worker that may be chosen. Column form; input: healthy. */
typedef unsigned char u8;

__asm__(".section .custom_section.sgl.policy,\"\",@\n"
        ".ascii \"\\x84\\xa3\" \"abi\" \"\\x01\\xa4\" \"name\\xa5\" \"first\"\n"
        ".ascii \"\\xa4wire\\xa7\" \"columns\\xa6inputs\\x91\\xa7healthy\"\n");

static u8 buffer[65536]; /* one message at a time: there is one buffer */
static u8 answer[1];

__attribute__((export_name("init"))) void init(void) {}

__attribute__((export_name("alloc"))) u8 *alloc(int size) {
    return size <= (int)sizeof buffer ? buffer : 0;
}

__attribute__((export_name("dealloc"))) void dealloc(u8 *p, int size) { (void)p, (void)size; }

/* [version, bin]: 92, an integer of 1 to 9 bytes, c4 and the length, the bits. */
__attribute__((export_name("select_worker"))) long long select_worker(u8 *m, int len) {
    int at = 1, end;
    at += m[at] < 0x80 ? 1 : 1 + (1 << (m[at] - 0xcc));
    at += m[at] == 0xc4 ? 2 : 3; /* bin 8 or bin 16 */
    for (end = at; end < len; end++)
        for (int bit = 0; bit < 8; bit++)
            if (m[end] >> bit & 1 && (end - at) * 8 + bit < 128) {
                answer[0] = (u8)((end - at) * 8 + bit);
                return (long long)(unsigned)answer << 32 | 1;
            }
    return 0; /* nobody */
}
