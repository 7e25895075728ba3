// Reverse mode with respect to the first image, the second held constant.
//
// The forward pass leaves every segment's input tiles. Later segments go backwards offset by
// offset and overwrite the tile that they read by its adjoint. In the first segment an offset's
// rows are recomputed, and the adjoints follow in the same stream of rows, a 3x3 sum being its own
// transpose: at step t layer l is recomputed at row t - 1 - l and reversed at row t - 2 N + 1 + l,
// and the pixels receive row t - 2 N. Every offset adds to the same pixels, so warps are staggered:
// warp w is w steps late in a period of H + 2 N steps, hence no two warps are at one row, and a
// barrier after every step fixes the order of the sums. No atomics.
//
// Of a ReLU with adjoints kb, ub of its outputs k' = s12 J1(c) and u' = k' + t J0(c):
//   q = ub t / (2 pi sin(theta) s12), dt = ub J0, dk = (kb + ub) J0 + q,
//   ds1 = ((kb + ub) sin(theta) / 2 pi - c q) s2, with q zero where patches coincide.
template <class T> struct Adjoint {
  T k, t, s12;
};

template <class T> DEV Adjoint<T> relu_reverse(T k, T t, T s12, T kb, T ub) {
  T inverse12 = sel(s12 > REAL(SMALL), reciprocal(s12), s12 * REAL(0));
  T c = k * inverse12;
  T z = REAL(1) - absolute(c);
  T safe = sel(z > REAL(THRESHOLD), z, s12 * REAL(0) + REAL(THRESHOLD));
  T y = safe * (REAL(2) - safe);
  T inverse = sel(z > REAL(THRESHOLD), reciprocal_root(y), s12 * REAL(0));
  T sine = y * inverse;
  T j0 = flip_sign(REAL(0.25) - sine * polynomial_t(safe), c) + REAL(0.25);
  T q = (ub * t) * (inverse * inverse12) * REAL(INVERSE_TWO_PI);
  T g = kb + ub;
  Adjoint<T> r;
  r.k = fma_(g, j0, q);
  r.t = ub * j0;
  r.s12 = g * (sine * REAL(INVERSE_TWO_PI)) - c * q;
  return r;
}

#define PERIOD (H + 2 * N)
#define EVEN_PAIRS (RX / 2 + 1)
#define PAIRS (RX + 1)
#define SLOTS ((2 * RY + 1) * PAIRS)
#define STEPS ((SLOTS + WARPS - 1) / WARPS * PERIOD + WARPS - 1)

// What a warp keeps while two offsets stream through it. Truth values take a register each where
// they live long: `places` has the cell of a `Target` and, as its last bits, who reads there and
// which columns are inside.
struct Reverse {
  P row1, row2;
  V left_a, right_a, left_b, right_b;
  I places;
  int dy;
  Ring ring_k[N], ring_u[N], back_k[N], back_u[N];
  Cols kept_k[N][2 * N - 1], kept_t[N][2 * N - 1];
  int odd;
};

template <int ODD> DEV void begin(Reverse& r, const Stream& s, I dx) {
  Target to = target<ODD>(s.edge, dx);
  r.row1 = s.row1;
  r.row2 = s.row2;
  r.dy = s.dy;
  r.left_a = s.edge.left_a;
  r.right_a = s.edge.right_a;
  r.left_b = s.edge.left_b;
  r.right_b = s.edge.right_b;
  r.places = to.cell_a * 16 + sel(to.in_a, 1, 0) + sel(to.in_b, 2, 0) + sel(s.edge.in_a, 4, 0) + sel(s.edge.in_b, 8, 0);
}

DEV Stream stream_of(const Reverse& r) {
  Stream s;
  s.row1 = r.row1;
  s.row2 = r.row2;
  s.dy = r.dy;
  s.edge.left_a = r.left_a;
  s.edge.right_a = r.right_a;
  s.edge.left_b = r.left_b;
  s.edge.right_b = r.right_b;
  s.edge.in_a = (r.places & 4) >= 4;
  s.edge.in_b = (r.places & 8) >= 8;
  return s;
}

DEV Target target_of(const Reverse& r) {
  Target t;
  t.cell_a = r.places >> 4;
  t.in_a = (r.places & 1) >= 1;
  t.in_b = (r.places & 2) >= 2;
  return t;
}

DEV void start(Reverse& r, const R2* image1, const R2* image2, int slot) {
  int pair = slot % PAIRS;
  const int dy = slot / PAIRS - RY;
  r.odd = pair >= EVEN_PAIRS;
  if (r.odd) pair -= EVEN_PAIRS;
  const int first_even = -(RX / 2 * 2), first_odd = -((RX + 1) / 2 * 2 - 1);
  const int count = r.odd ? (RX + 1) / 2 * 2 : RX / 2 * 2 + 1, pairs = (count + 1) / 2;
  int low = (r.odd ? first_odd : first_even) + 2 * pair;
  bool both = pairs + pair < count;
  M lower = lane_id() < 16;
  I dx = sel(lower, low, both ? low + 2 * pairs : low);
  if (r.odd) {
    begin<1>(r, stream<1>(image1, image2, dy, dx, lower | both), dx);
  } else {
    begin<0>(r, stream<0>(image1, image2, dy, dx, lower | both), dx);
  }
#pragma unroll
  for (int layer = 0; layer < N; layer++) {
    r.ring_k[layer].older = r.ring_k[layer].newer = r.ring_u[layer].older = r.ring_u[layer].newer = nothing();
    r.back_k[layer].older = r.back_k[layer].newer = r.back_u[layer].older = r.back_u[layer].newer = nothing();
#pragma unroll
    for (int n = 0; n < 2 * N - 1; n++) r.kept_k[layer][n] = r.kept_t[layer][n] = nothing();
  }
}

// Add a row of both offsets, lanes of the lower half writing even columns and the others odd ones.
DEV void add_row(REAL* row, const Cols& d) {
  I lane = lane_id();
  M low = lane < 16;
  V keep = sel(low, d.a, d.b), send = sel(low, d.b, d.a);
  add(row, (lane & 15) * 2 + (lane >> 4), keep + from_other_half(send));
}

// One step of a stream that is at row t of its own; `sums` are planes of H rows of 32 columns.
template <int ODD> DEV void reverse_step(Reverse& r, int t, const R2* adjoints, REAL* sums) {
  const Stream s = stream_of(r);
  const int y0 = first_row(s.dy), rows = row_count(s.dy);
  bool live = t < rows;
  Cols k = nothing(), u = nothing();
  if (live) k = inner_products<ODD>(s, t);
#pragma unroll
  for (int layer = 0; layer < N; layer++) {
#pragma unroll
    for (int n = 2 * N - 2; n > 0; n--) {
      r.kept_k[layer][n] = r.kept_k[layer][n - 1];
      r.kept_t[layer][n] = r.kept_t[layer][n - 1];
    }
    Cols sums_k = nothing(), sums_u = nothing();
    if (live) {
      sums_k = sum_columns(k, s.edge);
      if (layer) sums_u = sum_columns(u, s.edge);
    }
    sums_k = push(r.ring_k[layer], sums_k);
    if (layer) sums_u = push(r.ring_u[layer], sums_u);
    int row = t - 1 - layer;
    live = row >= 0 && row < rows;
    if (!live) continue;
    const REAL weight = layer ? REAL(W_INNER) : REAL(W_FIRST);
    Cols c, t_;
    c.a = fma_(sums_k.a, weight, REAL(B_VARIANCE));
    c.b = fma_(sums_k.b, weight, REAL(B_VARIANCE));
    t_ = c;
    if (layer) {
      t_.a = fma_(sums_u.a, weight, REAL(B_VARIANCE));
      t_.b = fma_(sums_u.b, weight, REAL(B_VARIANCE));
    }
    r.kept_k[layer][0] = c;
    r.kept_t[layer][0] = t_;
    if (layer == N - 1) continue;
    Cols s12 = deviations<ODD>(s, layer, t, 1 + layer);
    relu(c.a, t_.a, s12.a, k.a, u.a);
    relu(c.b, t_.b, s12.b, k.b, u.b);
  }
  Cols kb = nothing(), ub = nothing();
  int row = t - N;
  if (row >= 0 && row < rows) {
    int cell = row_cell(y0 + row, s.dy);
    if (cell >= 0) {
      Target from = target_of(r);
      load2_shared(adjoints, from.cell_a + cell, from.in_a, kb.a, ub.a);
      load2_shared(adjoints, from.cell_a + (cell + to_b<ODD>()), from.in_b, kb.b, ub.b);
    }
  }
#pragma unroll
  for (int back = 0; back < N; back++) {
    const int layer = N - 1 - back;
    row = t - N - back;
    Cols down_k = nothing(), down_u = nothing();
    if (row >= 0 && row < rows) {
      Cols first, second;
      load_rows<ODD>(s, CHANNELS + layer, t, N + back, first, second);
      Cols c = r.kept_k[layer][2 * back], t_ = layer ? r.kept_t[layer][2 * back] : c;
      Adjoint<V> a = relu_reverse(c.a, t_.a, first.a * second.a, kb.a, ub.a);
      Adjoint<V> b = relu_reverse(c.b, t_.b, first.b * second.b, kb.b, ub.b);
      Cols d;
      d.a = a.s12 * second.a;
      d.b = b.s12 * second.b;
      add_row(sums + ((CHANNELS + layer) * H + y0 + row) * 32, d);
      const REAL weight = layer ? REAL(W_INNER) : REAL(W_FIRST);
      down_k.a = (layer ? a.k : a.k + a.t) * weight;
      down_k.b = (layer ? b.k : b.k + b.t) * weight;
      down_k = sum_columns(down_k, s.edge);
      if (layer) {
        down_u.a = a.t * weight;
        down_u.b = b.t * weight;
        down_u = sum_columns(down_u, s.edge);
      }
    }
    kb = push(r.back_k[layer], down_k);
    kb.a = sel(s.edge.in_a, kb.a, REAL(0));
    kb.b = sel(s.edge.in_b, kb.b, REAL(0));
    if (layer) {
      ub = push(r.back_u[layer], down_u);
      ub.a = sel(s.edge.in_a, ub.a, REAL(0));
      ub.b = sel(s.edge.in_b, ub.b, REAL(0));
    }
  }
  row = t - 2 * N;
  if (row >= 0 && row < rows) {
#pragma unroll
    for (int channel = 0; channel < CHANNELS; channel++) {
      Cols second, d;
      load2(s.row2 + t * (PITCH + ODD), (channel * H - 2 * N) * (PITCH + ODD), second.a, second.b);
      d.a = kb.a * second.a;
      d.b = kb.b * second.b;
      add_row(sums + (channel * H + y0 + row) * 32, d);
    }
  }
}

// One step of the whole block; `clock` counts from 0.
DEV void staggered_step(Reverse& r, int warp, int clock, const R2* image1, const R2* image2, const R2* adjoints, REAL* sums) {
  int local = clock - warp;
  if (local < 0) return;
  int slot = local / PERIOD * WARPS + warp, time = local % PERIOD;
  if (slot >= SLOTS) return;
  if (time == 0) start(r, image1, image2, slot);
  int t = time - first_row(r.dy);
  if (t < 0 || t >= row_count(r.dy) + 2 * N) return;
  if (r.odd)
    reverse_step<1>(r, t, adjoints, sums);
  else
    reverse_step<0>(r, t, adjoints, sums);
}

DEV void first_segment_reverse(const R2* image1, const R2* image2, const R2* adjoints, REAL* sums) {
#ifdef __CUDACC_RTC__
  Reverse r;
  const int warp = warp_id();
#pragma unroll 1
  for (int clock = 0; clock < STEPS; clock++) {
    staggered_step(r, warp, clock, image1, image2, adjoints, sums);
    SYNC;
  }
#else
  static Reverse r[WARPS];
  for (int clock = 0; clock < STEPS; clock++)
    FOR_WARPS staggered_step(r[warp], warp, clock, image1, image2, adjoints, sums);
#endif
}

// A later segment: BATCH offsets at a time, a thread a pixel of one of them.
template <int S> DEV void later_segment_reverse(const REAL* image1, const REAL* image2, R2* tiles, R2* scratch, REAL* sums) {
  typedef Segment<S> G;
  const int cells = G::HEIGHT * G::WIDTH, n_x = 2 * G::RADIUS_X + 1, n_offsets = (2 * G::RADIUS_Y + 1) * n_x;
  const int step = G::POOL ? 2 : 1, out_n_x = 2 * G::OUT_RADIUS_X + 1;
  REAL* d_std = (REAL*)(scratch + G::BATCH * cells);
#pragma unroll 1
  for (int first = 0; first < n_offsets; first += G::BATCH) {
    FOR_THREADS(item, G::BATCH * cells) {
      int p = item % cells, offset = first + item / cells, y = p / G::WIDTH, x = p % G::WIDTH;
      int dy = offset / n_x - G::RADIUS_Y, dx = offset % n_x - G::RADIUS_X;
      int dy_out = G::POOL ? (dy + (y & 1)) >> 1 : dy, dx_out = G::POOL ? (dx + (x & 1)) >> 1 : dx;
      bool used = offset < n_offsets && y + dy >= 0 && x + dx >= 0 && y < step * G::OUT_HEIGHT &&
                  y + dy < step * G::OUT_HEIGHT && x < step * G::OUT_WIDTH && x + dx < step * G::OUT_WIDTH &&
                  dy_out >= -G::OUT_RADIUS_Y && dy_out <= G::OUT_RADIUS_Y && dx_out >= -G::OUT_RADIUS_X &&
                  dx_out <= G::OUT_RADIUS_X;
      R2 down = make2(0, 0);
      REAL d = 0;
      if (used) {
        R2 sum = box<G::HEIGHT, G::WIDTH>(tiles + G::TILES + offset * G::STRIDE, y, x);
        R2 adjoint = tiles[G::OUT_TILES + ((dy_out + G::OUT_RADIUS_Y) * out_n_x + dx_out + G::OUT_RADIUS_X) * G::OUT_STRIDE_ +
                           y / step * G::OUT_WIDTH + x / step];
        REAL s1 = image1[G::FEATURES + p], s2 = image2[G::FEATURES + p + dy * G::WIDTH + dx];
        Adjoint<REAL> a = relu_reverse<REAL>(fma_(sum.x, REAL(W_POOLED), REAL(B_VARIANCE)), fma_(sum.y, REAL(W_POOLED), REAL(B_VARIANCE)),
                                             s1 * s2, adjoint.x, adjoint.y);
        down = make2(a.k * REAL(W_POOLED), a.t * REAL(W_POOLED));
        d = a.s12 * s2;
      }
      scratch[item] = down;
      d_std[item] = d;
    }
    SYNC;
    FOR_THREADS(item, G::BATCH * cells) {
      int p = item % cells, nth = item / cells;
      if (first + nth < n_offsets)
        tiles[G::TILES + (first + nth) * G::STRIDE + p] = box<G::HEIGHT, G::WIDTH>(scratch + nth * cells, p / G::WIDTH, p % G::WIDTH);
      if (nth == 0) {
        REAL total = sums[G::SUMS_AT + p];
        for (int n = 0; n < G::BATCH; n++) total += d_std[n * cells + p];
        sums[G::SUMS_AT + p] = total;
      }
    }
    SYNC;
  }
}

template <int S> struct LaterReverse {
  MEMBER void run(const REAL* image1, const REAL* image2, R2* tiles, R2* scratch, REAL* sums) {
    later_segment_reverse<S>(image1, image2, tiles, scratch, sums);
    LaterReverse<S - 1>::run(image1, image2, tiles, scratch, sums);
  }
};
template <> struct LaterReverse<0> {
  MEMBER void run(const REAL*, const REAL*, R2*, R2*, REAL*) {}
};

// Add the gradient of one pair, times its cotangent, to `sums`.
DEV void reverse_pair(const REAL* image1, const REAL* image2, REAL cotangent, bool ntk, R2* tiles, R2* scratch, REAL* sums) {
  if (SEGMENTS > 1) forward_pair<(SEGMENTS > 1 ? SEGMENTS - 1 : 1)>(image1, image2, tiles);
  REAL seed = cotangent * REAL(READOUT_WEIGHT);
  FOR_THREADS(n, READOUT_CELLS) tiles[READOUT_TILES + n] = ntk ? make2(0, seed) : make2(seed, 0);
  SYNC;
  LaterReverse<SEGMENTS - 1>::run(image1, image2, tiles, scratch, sums);
  first_segment_reverse((const R2*)image1, (const R2*)image2, tiles, sums);
}

// Where number `n` of a gradient (pixels as images have them, then deviations) is among the sums.
DEV int sums_position(int n) {
  if (n < H * W * CHANNELS) return (n % CHANNELS * H + n / CHANNELS / W) * 32 + n / CHANNELS % W;
  n -= H * W * CHANNELS;
  if (n < N * H * W) return (CHANNELS * H + n / W) * 32 + n % W;
  return PLANES * H * 32 + n - N * H * W;
}
