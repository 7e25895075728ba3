// What is launched: on the GPU kernels, on the host functions that run every block in turn.
// PASS is 0 for the forward pass and what prepares it, 1 for the reverse pass.
#ifdef __CUDACC_RTC__
#define GLOBAL extern "C" __global__ void
#define FOR_ITEMS(at, count) \
  long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x; \
  if (at < (count))
#define FOR_BLOCKS(block, count) for (int block = blockIdx.x, once_ = 1; once_; once_ = 0)
#define SHARED(size) extern __shared__ R2 tiles[];
#define FIRST_THREAD if (threadIdx.x == 0)
#else
#define GLOBAL extern "C" void
#define FOR_ITEMS(at, count) for (long long at = 0; at < (count); at++)
#define FOR_BLOCKS(block, count) for (int block = 0; block < (count); block++)
#define SHARED(size) static R2 tiles[size];
#define FIRST_THREAD
#define __launch_bounds__(threads, blocks)
#define __restrict__
#endif

#if PASS == 0
// Packed images (n, IMAGE_SIZE) from images and their standard deviations; `count` numbers in all.
GLOBAL pack(const REAL* images, const REAL* std, long long count, REAL* out) {
  FOR_ITEMS(at, count) {
    long long image = at / IMAGE_SIZE;
    out[at] = packed_value(images + image * (H * W * CHANNELS), std + image * FEATURES_IN, (int)(at % IMAGE_SIZE));
  }
}

// Entries (n1, n2) of `rows1` and `rows2` of packed images, a block each; with `symmetric` on and above the diagonal.
GLOBAL __launch_bounds__(WARPS * 32, FORWARD_BLOCKS)
forward(const REAL* __restrict__ images1, const REAL* __restrict__ images2, const int* rows1, const int* rows2, int n1, int n2, int ntk, int symmetric, REAL* out) {
  SHARED(ALL_TILES)
  FOR_BLOCKS(block, n1 * n2) {
    int i = block / n2, j = block % n2;
    if (symmetric && j < i) continue;
    forward_pair<SEGMENTS>(images1 + (long long)rows1[i] * IMAGE_SIZE, images2 + (long long)rows2[j] * IMAGE_SIZE, tiles);
    REAL value = readout(tiles, ntk);
    FIRST_THREAD out[(long long)i * n2 + j] = value;
  }
}
#else
// Gradients (parts, n1, GRADIENT_SIZE): a block adds those of one image and `per_part` targets.
GLOBAL __launch_bounds__(WARPS * 32, 1)
reverse(const REAL* __restrict__ images1, const REAL* __restrict__ images2, const int* rows1, const int* rows2, const REAL* cotangent, int n1, int n2, int per_part, int parts, int ntk, REAL* out) {
  SHARED(ALL_TILES + SCRATCH + (SUMS + 1) / 2)
  R2* scratch = tiles + ALL_TILES;
  REAL* sums = (REAL*)(scratch + SCRATCH);
  FOR_BLOCKS(block, n1 * parts) {
    int i = block / parts, part = block % parts, stop = (part + 1) * per_part < n2 ? (part + 1) * per_part : n2;
    FOR_THREADS(n, SUMS) sums[n] = 0;
    SYNC;
    for (int j = part * per_part; j < stop; j++)
      reverse_pair(images1 + (long long)rows1[i] * IMAGE_SIZE, images2 + (long long)rows2[j] * IMAGE_SIZE, cotangent[(long long)i * n2 + j], ntk, tiles, scratch, sums);
    REAL* to = out + ((long long)part * n1 + i) * GRADIENT_SIZE;
    FOR_THREADS(n, GRADIENT_SIZE) to[n] = sums[sums_position(n)];
  }
}

// Sum of `parts` rows of `count` numbers, in their order.
GLOBAL fold(const REAL* values, long long count, int parts, REAL* out) {
  FOR_ITEMS(at, count) {
    REAL total = 0;
    for (int part = 0; part < parts; part++) total += values[part * count + at];
    out[at] = total;
  }
}
#endif
