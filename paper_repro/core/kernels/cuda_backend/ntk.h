// NTK and NNGP of a convolutional network, one pair of images a block of threads.
//
// The plan comes as constants in front of this file (see `source.py`): the first segment is
// H x W x CHANNELS with N conv+ReLU layers at offsets up to RY, RX; SEGMENTS counts all of them.
// The covariance k and u = k + t (t the tangent kernel) travel together, as in the numba backend.
//
// First segment: half a warp an offset, a lane two neighbouring columns. Rows stream through
// registers: inner products, sums over three columns by shuffles, sums over three rows from a ring
// of two rows a layer, ReLU. The last layer's rows are added into the pooled tiles in shared
// memory. Fine offset d adds to coarse offset (d + a) >> 1, a the pixel's parity, so offsets that
// differ by three or more add to different cells, and so do all even ones, and odd ones that
// differ by four: a phase is a class of such offsets, and no two warps add to one cell in a phase.
// There are no atomics, and every sum has a fixed order.
//
// Later segments have one conv+ReLU each. A cell of the output gathers its 16 terms, each of
// which is a term of no other cell.

// (J1, J0) and what `kernels.arccosine` says of them; J1 = J0 c + sin(theta) / 2 pi.
template <class T> DEV void expectations(T c, T& j1, T& j0) {
  T z = REAL(1) - absolute(c);
  z = sel(z > REAL(THRESHOLD), z, REAL(0));
  T s = root(z);
  T quarter = REAL(0.25) - s * polynomial_p(z);
  j0 = flip_sign(quarter, c) + REAL(0.25);
  T sine = s * root(fma_(z, REAL(-0.025330295910584443), REAL(0.050660591821168886)));
  j1 = fma_(j0, c, sine);
}

// conv+ReLU: from weighted sums k, t before the ReLU to k' and u' after it.
template <class T> DEV void relu(T k, T t, T s12, T& k_out, T& u_out) {
  T j1, j0;
  expectations(k * reciprocal(s12), j1, j0);
  k_out = s12 * j1;
  u_out = fma_(t, j0, k_out);
}

// ---------------------------------------------------------------- an image in memory
// Two copies of the planes (CHANNELS of pixels, N of standard deviations), as pairs of columns:
// one from column 0 in rows of 16 pairs, one from column -1 in rows of 17, so that the two columns
// of a lane are an aligned pair at even and at odd dx. Then the deviations of later segments.
#define PLANES (CHANNELS + N)
#define PITCH 16
#define LATER (PLANES * H * 33 * 2)

struct Cols {
  V a, b;
};

// Which columns a lane may use: `here` inside both images, `left`, `right` of a neighbour.
struct Window {
  V left_a, right_a, left_b, right_b;
  M in_a, in_b;
};

DEV Window window(I x, I dx, M used) {
  Window w;
  w.in_a = used & (x < W) & (x + dx >= 0) & (x + dx < W);
  w.in_b = used & (x + 1 < W) & (x + 1 + dx >= 0) & (x + 1 + dx < W);
  w.left_a = as_real((x - 1 >= 0) & (x - 1 + dx >= 0));
  w.right_a = as_real((x + 1 < W) & (x + 1 + dx < W));
  w.left_b = as_real(x + dx >= 0);
  w.right_b = as_real((x + 2 < W) & (x + 2 + dx < W));
  return w;
}

// Sum over three columns, zeros outside.
DEV Cols sum_columns(const Cols& v, const Window& w) {
  Cols r;
  r.a = fma_(w.left_a, from_left(v.b), fma_(w.right_a, v.b, v.a));
  r.b = fma_(w.right_b, from_right(v.a), fma_(w.left_b, v.a, v.b));
  return r;
}

DEV Cols nothing() {
  Cols r;
  r.a = r.b = splat(0);
  return r;
}

// The last two rows of column sums, and the sum over three rows when the next one comes.
struct Ring {
  Cols older, newer;
};

DEV Cols push(Ring& ring, const Cols& row) {
  Cols r;
  r.a = ring.older.a + ring.newer.a + row.a;
  r.b = ring.older.b + ring.newer.b + row.b;
  ring.older = ring.newer;
  ring.newer = row;
  return r;
}

// Offsets dx of one class: 0 even, 1 and 2 odd; its members add to different cells.
DEV constexpr int class_step(int c) { return c ? 4 : 2; }
DEV constexpr int class_first(int c) {
  return -RX + ((c == 0 ? 0 : c == 1 ? 1 : 3) + RX + 64 * class_step(c)) % class_step(c);
}
DEV constexpr int class_size(int c) {
  return class_first(c) > RX ? 0 : (RX - class_first(c)) / class_step(c) + 1;
}

// What two offsets (dy, dx of each half of a warp) need while their rows stream.
struct Stream {
  P row1, row2;
  Window edge;
  int dy;
};

// First row of the first image that has a partner, and how many have one.
DEV int first_row(int dy) { return dy < 0 ? -dy : 0; }
DEV int row_count(int dy) { return H - (dy < 0 ? -dy : dy); }

template <int ODD> DEV Stream stream(const R2* image1, const R2* image2, int dy, I dx, M used) {
  Stream s;
  I j = lane_id() & 15;
  I x = j * 2;
  s.edge = window(x, dx, used);
  s.dy = dy;
  s.row1 = at(image1, j + first_row(dy) * PITCH);
  I column = clamp((x + dx + ODD) >> 1, 0, PITCH - 1 + ODD);
  s.row2 = at(image2 + (ODD ? PLANES * H * PITCH : 0), column + (first_row(dy) + dy) * (PITCH + ODD));
  return s;
}

// Row `t` of plane `plane` in both images, `lag` rows earlier; plane and lag are constants, so that
// one address a row and image serves all loads.
template <int ODD>
DEV void load_rows(const Stream& s, int plane, int t, int lag, Cols& first, Cols& second) {
  load2(s.row1 + t * PITCH, (plane * H - lag) * PITCH, first.a, first.b);
  load2(s.row2 + t * (PITCH + ODD), (plane * H - lag) * (PITCH + ODD), second.a, second.b);
}

template <int ODD> DEV Cols inner_products(const Stream& s, int t) {
  Cols k = nothing();
#pragma unroll
  for (int c = 0; c < CHANNELS; c++) {
    Cols first, second;
    load_rows<ODD>(s, c, t, 0, first, second);
    k.a = fma_(first.a, second.a, k.a);
    k.b = fma_(first.b, second.b, k.b);
  }
  return k;
}

template <int ODD> DEV Cols deviations(const Stream& s, int layer, int t, int lag) {
  Cols first, second, r;
  load_rows<ODD>(s, CHANNELS + layer, t, lag, first, second);
  r.a = first.a * second.a;
  r.b = first.b * second.b;
  return r;
}

// Step t of a stream: input row t, layer l one row behind its input. LIVE: every row exists.
// Returns whether (k, u) is a row of the last layer's output, row t - N.
template <int ODD, bool LIVE>
DEV bool forward_step(const Stream& s, int t, Ring* ring_k, Ring* ring_u, Cols& k, Cols& u) {
  const int rows = row_count(s.dy);
  bool live = LIVE || t < rows;
  k = nothing();
  if (live) k = inner_products<ODD>(s, t);
#pragma unroll
  for (int layer = 0; layer < N; layer++) {
    if (!LIVE && t < layer) return false;
    Cols sums = nothing(), sums_u = nothing();
    if (live) {
      sums = sum_columns(k, s.edge);
      if (layer) sums_u = sum_columns(u, s.edge);
    }
    sums = push(ring_k[layer], sums);
    if (layer) sums_u = push(ring_u[layer], sums_u);
    int row = t - 1 - layer;
    live = LIVE || (row >= 0 && row < rows);
    if (!live) continue;
    const REAL weight = layer ? REAL(W_INNER) : REAL(W_FIRST);
    Cols s12 = deviations<ODD>(s, layer, t, 1 + layer), c, t_;
    c.a = fma_(sums.a, weight, REAL(B_VARIANCE));
    c.b = fma_(sums.b, weight, REAL(B_VARIANCE));
    t_ = c;
    if (layer) {
      t_.a = fma_(sums_u.a, weight, REAL(B_VARIANCE));
      t_.b = fma_(sums_u.b, weight, REAL(B_VARIANCE));
    }
    relu(c.a, t_.a, s12.a, k.a, u.a);
    relu(c.b, t_.b, s12.b, k.b, u.b);
  }
  return live;
}

// Where a stream's outputs go: cells of the two columns less the row, and who may write.
struct Target {
  I cell_a;
  M in_a, in_b;
};

// From the first column's cell to the second's.
template <int ODD> DEV constexpr int to_b() { return POOLS ? ODD * OUT_STRIDE : 1; }

// With a pool, an odd last row or column of either image is dropped.
#define KEPT_H (POOLS ? H / 2 * 2 : H)
#define KEPT_W (POOLS ? W / 2 * 2 : W)
#define OUT_H (POOLS ? H / 2 : H)
#define OUT_W (POOLS ? W / 2 : W)

template <int ODD> DEV Target target(const Window& edge, I dx) {
  Target r;
  I j = lane_id() & 15;
  I x = j * 2;
  I left = POOLS ? dx >> 1 : dx, right = POOLS ? (dx + 1) >> 1 : dx;
  r.in_a = edge.in_a & (x < KEPT_W) & (x + dx < KEPT_W) & (left >= -OUT_RX) & (left <= OUT_RX);
  r.in_b = edge.in_b & (x + 1 < KEPT_W) & (x + 1 + dx < KEPT_W) & (right >= -OUT_RX) & (right <= OUT_RX);
  r.cell_a = (left + OUT_RX) * OUT_STRIDE + (POOLS ? j : x);
  return r;
}

// First cell of output row `y` at fine offset `dy`, or -1 where the row is not needed.
DEV int row_cell(int y, int dy) {
  int coarse = POOLS ? (dy + (y & 1)) >> 1 : dy;
  if (y >= KEPT_H || y + dy >= KEPT_H || coarse < -OUT_RY || coarse > OUT_RY) return -1;
  return (coarse + OUT_RY) * (2 * OUT_RX + 1) * OUT_STRIDE + (POOLS ? y >> 1 : y) * OUT_W;
}

template <int ODD> DEV void emit(R2* out, const Target& to, int row, const Cols& k, const Cols& u) {
  if (row < 0) return;
  if (POOLS && !ODD) {
    add2(out, to.cell_a + row, to.in_a, k.a + k.b, u.a + u.b);
  } else {
    add2(out, to.cell_a + row, to.in_a, k.a, u.a);
    add2(out, to.cell_a + (row + to_b<ODD>()), to.in_b, k.b, u.b);
  }
}

// Two rows at a time need no moves in the ring; the reverse pass has no registers for that.
#define ROWS_AT_ONCE (PASS ? 1 : 2)

template <int ODD>
DEV void forward_offsets(const R2* image1, const R2* image2, int dy, int dx_low, int dx_high, bool both, R2* out) {
  M low = lane_id() < 16;
  I dx = sel(low, dx_low, dx_high);
  Stream s = stream<ODD>(image1, image2, dy, dx, low | both);
  Target to = target<ODD>(s.edge, dx);
  Ring ring_k[N], ring_u[N];
#pragma unroll
  for (int layer = 0; layer < N; layer++)
    ring_k[layer].older = ring_k[layer].newer = ring_u[layer].older = ring_u[layer].newer = nothing();
  Cols k, u;
  const int y0 = first_row(dy), rows = row_count(dy);
#pragma unroll 1
  for (int t = 0; t < N; t++)
    if (forward_step<ODD, false>(s, t, ring_k, ring_u, k, u)) emit<ODD>(out, to, row_cell(y0 + t - N, dy), k, u);
#pragma unroll ROWS_AT_ONCE
  for (int t = N; t < rows; t++) {
    forward_step<ODD, true>(s, t, ring_k, ring_u, k, u);
    emit<ODD>(out, to, row_cell(y0 + t - N, dy), k, u);
  }
#pragma unroll 1
  for (int t = rows > N ? rows : N; t < rows + N; t++)
    if (forward_step<ODD, false>(s, t, ring_k, ring_u, k, u)) emit<ODD>(out, to, row_cell(y0 + t - N, dy), k, u);
}

// Offsets of one class of columns and one residue of rows, none of which adds to another's cells.
template <int ODD> DEV void forward_phase(const R2* image1, const R2* image2, int py, int first_dx, int count, R2* out) {
  const int pairs = (count + 1) / 2, step = ODD ? 4 : 2;
  const int n_dy = (2 * RY + 1 - py + 2) / 3;
  FOR_WARPS for (int slot = warp; slot < n_dy * pairs; slot += WARPS) {
    int dy = -RY + py + 3 * (slot / pairs), first = slot % pairs;
    bool both = pairs + first < count;
    int low = first_dx + step * first;
    int high = both ? low + step * pairs : low;
    forward_offsets<ODD>(image1, image2, dy, low, high, both, out);
  }
  SYNC;
}

DEV void first_segment(const R2* image1, const R2* image2, R2* out) {
#pragma unroll 1
  for (int py = 0; py < 3 && py <= 2 * RY; py++) {
    forward_phase<0>(image1, image2, py, class_first(0), class_size(0), out);
#pragma unroll 1
    for (int c = 1; c < 3; c++) {
      const int first = c == 1 ? class_first(1) : class_first(2), size = c == 1 ? class_size(1) : class_size(2);
      if (size) forward_phase<1>(image1, image2, py, first, size, out);
    }
  }
}

// ---------------------------------------------------------------- later segments
// Sum over 3 x 3 cells of a tile around (y, x), zeros outside.
template <int HEIGHT, int WIDTH> DEV R2 box(const R2* tile, int y, int x) {
  R2 sum = make2(0, 0);
#pragma unroll
  for (int i = -1; i < 2; i++)
#pragma unroll
    for (int j = -1; j < 2; j++)
      if (y + i >= 0 && y + i < HEIGHT && x + j >= 0 && x + j < WIDTH) {
        R2 v = tile[(y + i) * WIDTH + x + j];
        sum.x += v.x;
        sum.y += v.y;
      }
  return sum;
}

// Term `n` of the 16 that a pool adds at coarse offset `coarse`, along one axis (bits of n).
DEV int fine_offset(int coarse, int a, int b) { return 2 * coarse - a + b; }

template <int S> DEV void later_segment(const REAL* image1, const REAL* image2, R2* tiles) {
  typedef Segment<S> G;
  const int cells = G::OUT_HEIGHT * G::OUT_WIDTH, n_x = 2 * G::OUT_RADIUS_X + 1;
  const int terms = G::POOL ? 16 : 1, step = G::POOL ? 2 : 1;
  FOR_THREADS(item, (2 * G::OUT_RADIUS_Y + 1) * n_x * cells) {
    int cell = item % cells, offset = item / cells;
    int y_out = cell / G::OUT_WIDTH, x_out = cell % G::OUT_WIDTH;
    int dy_out = offset / n_x - G::OUT_RADIUS_Y, dx_out = offset % n_x - G::OUT_RADIUS_X;
    bool inside = y_out + dy_out >= 0 && y_out + dy_out < G::OUT_HEIGHT && x_out + dx_out >= 0 &&
                  x_out + dx_out < G::OUT_WIDTH;
    REAL sum_k = 0, sum_u = 0;
    if (inside) {
#pragma unroll 1
      for (int n = 0; n < terms; n++) {
        int ay = n & 1, ax = n >> 1 & 1;
        int dy = G::POOL ? fine_offset(dy_out, ay, n >> 2 & 1) : dy_out;
        int dx = G::POOL ? fine_offset(dx_out, ax, n >> 3) : dx_out;
        int y = step * y_out + ay, x = step * x_out + ax;
        const R2* tile = tiles + G::TILES + ((dy + G::RADIUS_Y) * (2 * G::RADIUS_X + 1) + dx + G::RADIUS_X) * G::STRIDE;
        R2 sums = box<G::HEIGHT, G::WIDTH>(tile, y, x);
        int p = y * G::WIDTH + x;
        REAL s12 = image1[G::FEATURES + p] * image2[G::FEATURES + p + dy * G::WIDTH + dx], k, u;
        relu(fma_(sums.x, REAL(W_POOLED), REAL(B_VARIANCE)), fma_(sums.y, REAL(W_POOLED), REAL(B_VARIANCE)), s12, k, u);
        sum_k += k;
        sum_u += u;
      }
    }
    tiles[G::OUT_TILES + offset * G::OUT_STRIDE_ + cell] = make2(sum_k, sum_u);
  }
  SYNC;
}

template <int S, int END> struct Later {
  MEMBER void run(const REAL* image1, const REAL* image2, R2* tiles) {
    later_segment<S>(image1, image2, tiles);
    Later<S + 1, END>::run(image1, image2, tiles);
  }
};
template <int END> struct Later<END, END> {
  MEMBER void run(const REAL*, const REAL*, R2*) {}
};

DEV void clear(R2* tiles, int count) {
  FOR_THREADS(n, count) tiles[n] = make2(0, 0);
  SYNC;
}

// Every segment's tiles of one pair; END is where to stop.
template <int END> DEV void forward_pair(const REAL* image1, const REAL* image2, R2* tiles) {
  clear(tiles, FIRST_TILES);
  first_segment((const R2*)image1, (const R2*)image2, tiles);
  Later<1, END>::run(image1, image2, tiles);
}

// Kernel entry of a pair from the cells of the readout, summed by the first warp.
DEV REAL readout(const R2* tiles, bool ntk) {
  V sum = splat(0);
  I lane = lane_id();
  for (int n = 0; n < READOUT_CELLS; n += 32) {
    V k, u;
    load2_shared(tiles + READOUT_TILES, lane + n, lane + n < READOUT_CELLS, k, u);
    sum = sum + (ntk ? u : k);
  }
  return fma_(sum_lanes(sum), REAL(READOUT_WEIGHT), REAL(B_VARIANCE));
}

// ---------------------------------------------------------------- packing
// A zero deviation leaves the correlation zero where it divides; NaN stays NaN.
DEV REAL at_least_tiny(REAL s) { return s < REAL(TINY) ? REAL(TINY) : s; }

// One number of a packed image: images (n, H, W, CHANNELS), deviations (n, FEATURES_IN).
DEV REAL packed_value(const REAL* image, const REAL* std, int at) {
  if (at >= LATER) {
    int f = N * H * W + at - LATER;
    return f < FEATURES_IN ? at_least_tiny(std[f]) : REAL(0);
  }
  int odd = at >= PLANES * H * 32, pitch = 32 + 2 * odd;
  if (odd) at -= PLANES * H * 32;
  int x = at % pitch - odd, y = at / pitch % H, plane = at / (pitch * H);
  bool inside = x >= 0 && x < W;
  if (plane < CHANNELS) return inside ? image[(y * W + x) * CHANNELS + plane] : REAL(0);
  if (!inside) return REAL(1);
  return at_least_tiny(std[((plane - CHANNELS) * H + y) * W + x]);
}
