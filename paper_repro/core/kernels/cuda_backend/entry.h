// What is launched: on the GPU kernels, on the host functions that run every block in turn.
#ifdef __CUDACC_RTC__
extern "C" __global__ void pack(const REAL* images, const REAL* std, long long count, REAL* out) {
  long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (at >= count) return;
  long long image = at / IMAGE_SIZE;
  out[at] = packed_value(images + image * (H * W * CHANNELS), std + image * FEATURES_IN, (int)(at % IMAGE_SIZE));
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, FORWARD_BLOCKS)
forward(const REAL* __restrict__ images1, const REAL* __restrict__ images2, int n1, int n2, int ntk, int symmetric, REAL* out) {
  extern __shared__ R2 tiles[];
  int i = blockIdx.x / n2, j = blockIdx.x % n2;
  if (symmetric && j < i) return;
  forward_pair<SEGMENTS>(images1 + (long long)i * IMAGE_SIZE, images2 + (long long)j * IMAGE_SIZE, tiles);
  if (threadIdx.x >= 32) return;
  REAL value = readout(tiles, ntk);
  if (threadIdx.x == 0) out[(long long)i * n2 + j] = value;
}
#else
extern "C" void pack(const REAL* images, const REAL* std, long long count, REAL* out) {
  for (long long at = 0; at < count; at++) {
    long long image = at / IMAGE_SIZE;
    out[at] = packed_value(images + image * (H * W * CHANNELS), std + image * FEATURES_IN, (int)(at % IMAGE_SIZE));
  }
}

extern "C" void forward(const REAL* images1, const REAL* images2, int n1, int n2, int ntk, int symmetric, REAL* out) {
  static R2 tiles[ALL_TILES];
  for (int i = 0; i < n1; i++)
    for (int j = symmetric ? i : 0; j < n2; j++) {
      forward_pair<SEGMENTS>(images1 + (long long)i * IMAGE_SIZE, images2 + (long long)j * IMAGE_SIZE, tiles);
      out[(long long)i * n2 + j] = readout(tiles, ntk);
    }
}
#endif
