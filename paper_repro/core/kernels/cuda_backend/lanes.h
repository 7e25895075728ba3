// A warp of 32 lanes, for the GPU and, lane by lane in plain C++, for tests on a CPU.
//
// V holds one REAL a lane, I one int, M one truth value, P one pointer. R2 is two neighbouring REALs in memory.
// On the GPU a V is an ordinary variable of a thread; on the host it is an array of 32, so that
// control flow must be the same for all lanes of a warp: branches test plain ints, selections
// among lanes use `sel`. FOR_WARPS runs a phase for every warp of the block and FOR_THREADS shares
// out independent items; SYNC ends a phase.
#ifdef __CUDACC_RTC__
#define DEV __device__ __forceinline__
#define MEMBER static __device__ __forceinline__
typedef REAL V;
typedef int I;
typedef bool M;
#if REAL_BYTES == 4
typedef float2 R2;
DEV REAL root(REAL v) { float r; asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEV REAL reciprocal(REAL v) { float r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEV REAL reciprocal_root(REAL v) { float r; asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEV REAL fma_(REAL a, REAL b, REAL c) { return __fmaf_rn(a, b, c); }
DEV REAL absolute(REAL v) { return fabsf(v); }
// v with its sign flipped where that of `sign` is set.
DEV REAL flip_sign(REAL v, REAL sign) {
  return __int_as_float(__float_as_int(v) ^ (__float_as_int(sign) & 0x80000000));
}
#else
typedef double2 R2;
DEV REAL root(REAL v) { return sqrt(v); }
DEV REAL reciprocal(REAL v) { return 1. / v; }
DEV REAL reciprocal_root(REAL v) { return 1. / sqrt(v); }
DEV REAL fma_(REAL a, REAL b, REAL c) { return __fma_rn(a, b, c); }
DEV REAL absolute(REAL v) { return fabs(v); }
DEV REAL flip_sign(REAL v, REAL sign) {
  return __longlong_as_double(__double_as_longlong(v) ^ (__double_as_longlong(sign) & 0x8000000000000000ll));
}
#endif
DEV I lane_id() { return threadIdx.x & 31; }
DEV V splat(REAL v) { return v; }
// The value of the next lower and next higher lane; what crosses the ends must not be used.
DEV V from_left(V v) { return __shfl_up_sync(~0u, v, 1); }
DEV V from_right(V v) { return __shfl_down_sync(~0u, v, 1); }
DEV V from_other_half(V v) { return __shfl_xor_sync(~0u, v, 16); }
template <class A> DEV A sel(M m, A a, A b) { return m ? a : b; }
DEV V as_real(M m) { return m ? REAL(1) : REAL(0); }
DEV I clamp(I v, int low, int high) { return min(max(v, low), high); }
DEV R2 make2(REAL x, REAL y) { R2 r; r.x = x; r.y = y; return r; }
// A pointer of every lane; what is added to it must be the same for all lanes.
typedef const R2* P;
DEV P at(const R2* p, I i) { return p + i; }
DEV void load2(P p, int offset, V& a, V& b) { R2 v = __ldg(p + offset); a = v.x; b = v.y; }
DEV void load2_shared(const R2* p, I i, M m, V& a, V& b) {
  a = b = 0;
  if (m) { R2 v = p[i]; a = v.x; b = v.y; }
}
DEV void add2(R2* p, I i, M m, V x, V y) {
  if (m) { R2 v = p[i]; v.x += x; v.y += y; p[i] = v; }
}
DEV void add(REAL* p, I i, V v) { p[i] += v; }
DEV REAL sum_lanes(V v) {
  for (int step = 16; step; step >>= 1) v += __shfl_xor_sync(~0u, v, step);
  return v;
}
#define SYNC __syncthreads()
DEV int warp_id() { return __shfl_sync(~0u, (int)threadIdx.x >> 5, 0); }
#define FOR_WARPS for (int warp = warp_id(), once = 1; once; once = 0)
#define FOR_THREADS(item, count) for (int item = threadIdx.x; item < (count); item += WARPS * 32)
#else
#include <cmath>
#include <cstring>
#define DEV static inline
#define MEMBER static inline
template <class A> struct Lanes {
  A v[32];
};
typedef Lanes<REAL> V;
typedef Lanes<int> I;
typedef Lanes<bool> M;
struct alignas(2 * sizeof(REAL)) R2 {
  REAL x, y;
};
#define EACH for (int l = 0; l < 32; l++)
#define OPERATOR(OUT, IN, OP) \
  DEV OUT operator OP(const IN& a, const IN& b) { OUT r; EACH r.v[l] = a.v[l] OP b.v[l]; return r; }
#define WITH_SCALAR(OUT, IN, SCALAR, OP) \
  OPERATOR(OUT, IN, OP) \
  DEV OUT operator OP(const IN& a, SCALAR b) { OUT r; EACH r.v[l] = a.v[l] OP b; return r; } \
  DEV OUT operator OP(SCALAR a, const IN& b) { OUT r; EACH r.v[l] = a OP b.v[l]; return r; }
WITH_SCALAR(V, V, REAL, +) WITH_SCALAR(V, V, REAL, -) WITH_SCALAR(V, V, REAL, *)
WITH_SCALAR(M, V, REAL, >)
WITH_SCALAR(I, I, int, +) WITH_SCALAR(I, I, int, -) WITH_SCALAR(I, I, int, *)
WITH_SCALAR(I, I, int, &) WITH_SCALAR(I, I, int, >>)
WITH_SCALAR(M, I, int, <) WITH_SCALAR(M, I, int, >=) WITH_SCALAR(M, I, int, <=)
OPERATOR(M, M, &) OPERATOR(M, M, |)
DEV M operator&(const M& a, bool b) { M r; EACH r.v[l] = a.v[l] & b; return r; }
DEV M operator|(const M& a, bool b) { M r; EACH r.v[l] = a.v[l] | b; return r; }
DEV I lane_id() { I r; EACH r.v[l] = l; return r; }
DEV V splat(REAL s) { V r; EACH r.v[l] = s; return r; }
DEV V from_left(const V& v) { V r; EACH r.v[l] = v.v[l ? l - 1 : 0]; return r; }
DEV V from_right(const V& v) { V r; EACH r.v[l] = v.v[l < 31 ? l + 1 : 31]; return r; }
DEV V from_other_half(const V& v) { V r; EACH r.v[l] = v.v[l ^ 16]; return r; }
template <class A> DEV Lanes<A> sel(const M& m, const Lanes<A>& a, const Lanes<A>& b) { Lanes<A> r; EACH r.v[l] = m.v[l] ? a.v[l] : b.v[l]; return r; }
DEV I sel(const M& m, int a, int b) { I r; EACH r.v[l] = m.v[l] ? a : b; return r; }
DEV REAL sel(bool m, REAL a, REAL b) { return m ? a : b; }
DEV V as_real(const M& m) { V r; EACH r.v[l] = m.v[l] ? 1 : 0; return r; }
DEV I clamp(I i, int low, int high) { EACH i.v[l] = i.v[l] < low ? low : i.v[l] > high ? high : i.v[l]; return i; }
DEV REAL root(REAL v) { return std::sqrt(v); }
DEV REAL reciprocal(REAL v) { return 1 / v; }
DEV REAL reciprocal_root(REAL v) { return 1 / std::sqrt(v); }
DEV REAL fma_(REAL a, REAL b, REAL c) { return std::fma(a, b, c); }
DEV REAL absolute(REAL v) { return std::fabs(v); }
DEV REAL flip_sign(REAL v, REAL sign) { return std::signbit(sign) ? -v : v; }
DEV V root(V v) { EACH v.v[l] = std::sqrt(v.v[l]); return v; }
DEV V reciprocal(V v) { EACH v.v[l] = 1 / v.v[l]; return v; }
DEV V reciprocal_root(V v) { EACH v.v[l] = 1 / std::sqrt(v.v[l]); return v; }
DEV V fma_(const V& a, const V& b, const V& c) { V r; EACH r.v[l] = fma_(a.v[l], b.v[l], c.v[l]); return r; }
DEV V fma_(const V& a, const V& b, REAL c) { return fma_(a, b, splat(c)); }
DEV V fma_(const V& a, REAL b, REAL c) { return fma_(a, splat(b), splat(c)); }
DEV V fma_(const V& a, REAL b, const V& c) { return fma_(a, splat(b), c); }
DEV V absolute(V v) { EACH v.v[l] = std::fabs(v.v[l]); return v; }
DEV V flip_sign(V v, const V& sign) { EACH v.v[l] = flip_sign(v.v[l], sign.v[l]); return v; }
DEV V sel(const M& m, const V& a, REAL b) { return sel(m, a, splat(b)); }
DEV R2 make2(REAL x, REAL y) { return R2{x, y}; }
struct P {
  const R2* v[32];
};
DEV P at(const R2* p, const I& i) { P r; EACH r.v[l] = p + i.v[l]; return r; }
DEV P operator+(const P& p, int offset) { P r; EACH r.v[l] = p.v[l] + offset; return r; }
DEV void load2(const P& p, int offset, V& a, V& b) { EACH { R2 v = p.v[l][offset]; a.v[l] = v.x; b.v[l] = v.y; } }
DEV void load2_shared(const R2* p, const I& i, const M& m, V& a, V& b) {
  a = b = splat(0);
  EACH if (m.v[l]) { R2 v = p[i.v[l]]; a.v[l] = v.x; b.v[l] = v.y; }
}
// Lanes that add to one cell would lose a sum on the GPU: lanes read before any of them writes.
DEV void add2(R2* p, const I& i, const M& m, const V& x, const V& y) {
  R2 before[32];
  EACH if (m.v[l]) before[l] = p[i.v[l]];
  EACH if (m.v[l]) p[i.v[l]] = R2{before[l].x + x.v[l], before[l].y + y.v[l]};
}
DEV void add(REAL* p, const I& i, const V& v) {
  REAL before[32];
  EACH before[l] = p[i.v[l]];
  EACH p[i.v[l]] = before[l] + v.v[l];
}
DEV REAL sum_lanes(V v) {
  for (int step = 16; step; step >>= 1) { V o = v; EACH v.v[l] = o.v[l] + o.v[l ^ step]; }
  return v.v[0];
}
#define SYNC
#define FOR_WARPS for (int warp = 0; warp < WARPS; warp++)
#define FOR_THREADS(item, count) for (int item = 0; item < (count); item++)
#endif
