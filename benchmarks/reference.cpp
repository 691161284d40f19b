// The reference: Kalman filter, Rauch-Tung-Striebel smoother and one EM iteration as plain C++ with the sizes known
// at compile time, on one thread. Compile with -DSTATE_DIM=d -DOBS_DIM=p; run as
//
//     reference CASE KIND VARIANT        KIND: log_likelihood filter smooth em
//                                        VARIANT: full frozen full-fresh frozen-fresh
//
// and write a line to its input for each call: it answers with one line of JSON. The case is the binary file of
// cases.py. "frozen" stops the covariance recursions once they have converged; "-fresh" maps new output arrays in
// every call, the others reuse them.
//
// Filter and smoother: Anderson and Moore, Optimal Filtering (1979), chapters 3 and 7; EM: Shumway and Stoffer,
// Journal of Time Series Analysis 3 (1982). With more sensors than states a row y is first turned into d values
// with unit noise, L^-1 H'R^-1 y where H'R^-1 H = L L', beside a term that does not depend on the state. What depends
// on the data alone (sum y y') is taken when the file is read, as it would be once in a fit.

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

// Small steps inside long loops: a call costs more than the step.
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr double log_2pi = 1.8378770664093454836;
// A covariance has converged when no entry moves by more than this part of the largest.
constexpr double converged = 1e-12;

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(1);
}

// ---------------------------------------------------------------------------------------------- small matrices

template <int Rows, int Cols>
struct Matrix {
    double entry[Rows * Cols];
    double* operator[](int i) { return entry + i * Cols; }
    const double* operator[](int i) const { return entry + i * Cols; }
};

template <int N>
using Vector = Matrix<N, 1>;

template <int A, int B, int C>
INLINE void multiply(const Matrix<A, B>& left, const Matrix<B, C>& right, Matrix<A, C>& product) {
    for (int i = 0; i < A; i++) {
        double row[C] = {};
        for (int k = 0; k < B; k++)
            for (int j = 0; j < C; j++) row[j] += left[i][k] * right[k][j];
        std::copy(row, row + C, product[i]);
    }
}

template <int A, int B>
INLINE Matrix<B, A> transposed(const Matrix<A, B>& matrix) {
    Matrix<B, A> result;
    for (int i = 0; i < A; i++)
        for (int j = 0; j < B; j++) result[j][i] = matrix[i][j];
    return result;
}

// total = start + sign * left' right, row by row.
template <int A, int B, int C>
INLINE void add_cross(const Matrix<A, B>& left, const Matrix<A, C>& right, double sign, Matrix<B, C>& total) {
    for (int i = 0; i < B; i++) {
        double row[C];
        std::copy(total[i], total[i] + C, row);
        for (int k = 0; k < A; k++)
            for (int j = 0; j < C; j++) row[j] += sign * left[k][i] * right[k][j];
        std::copy(row, row + C, total[i]);
    }
}

// result = start + matrix vector, with the matrix given by its transpose: the inner loop runs along memory.
template <int A, int B>
INLINE void apply(const Matrix<B, A>& transpose, const double* vector, const double* start, double* result) {
    double sum[A];
    std::copy(start, start + A, sum);
    for (int k = 0; k < B; k++)
        for (int i = 0; i < A; i++) sum[i] += transpose[k][i] * vector[k];
    std::copy(sum, sum + A, result);
}

// The symmetric matrix as L diag(pivots) L', L unit lower triangular and in place; no square roots.
template <int N>
INLINE void factorise(Matrix<N, N>& matrix, double* pivots, double* inverse) {
    for (int j = 0; j < N; j++) {
        double scaled[N];
        pivots[j] = matrix[j][j];
        for (int k = 0; k < j; k++) {
            scaled[k] = matrix[j][k] * pivots[k];
            pivots[j] -= scaled[k] * matrix[j][k];
        }
        inverse[j] = 1.0 / pivots[j];
        for (int i = j + 1; i < N; i++) {
            double sum = matrix[i][j];
            for (int k = 0; k < j; k++) sum -= matrix[i][k] * scaled[k];
            matrix[i][j] = sum * inverse[j];
        }
    }
}

// right = L^-1 right
template <int N, int C>
INLINE void solve_lower(const Matrix<N, N>& factor, Matrix<N, C>& right) {
    for (int i = 1; i < N; i++) {
        double row[C];
        std::copy(right[i], right[i] + C, row);
        for (int k = 0; k < i; k++)
            for (int j = 0; j < C; j++) row[j] -= factor[i][k] * right[k][j];
        std::copy(row, row + C, right[i]);
    }
}

// right = L'^-1 diag(inverse) right: with solve_lower before it, the whole solve.
template <int N, int C>
INLINE void solve_upper(const Matrix<N, N>& factor, const double* inverse, Matrix<N, C>& right) {
    for (int i = N - 1; i >= 0; i--) {
        double row[C];
        for (int j = 0; j < C; j++) row[j] = inverse[i] * right[i][j];
        for (int k = i + 1; k < N; k++)
            for (int j = 0; j < C; j++) row[j] -= factor[k][i] * right[k][j];
        std::copy(row, row + C, right[i]);
    }
}

template <int N>
INLINE bool is_near(const Matrix<N, N>& a, const Matrix<N, N>& b) {
    double size = 0.0, change = 0.0;
    for (int i = 0; i < N * N; i++) {
        size = std::max(size, std::fabs(a.entry[i]));
        change = std::max(change, std::fabs(a.entry[i] - b.entry[i]));
    }
    return change <= converged * size;
}

// ---------------------------------------------------------------------------------------------- model and data

template <int D, int P>
struct Model {
    Matrix<D, D> F;
    Matrix<P, D> H;
    Matrix<D, D> Q;
    Matrix<P, P> R;
    Vector<D> m;
    Matrix<D, D> P0;
};

// Missing entries are kept apart per pattern of observed entries, a bit each; more than this many are not foreseen.
constexpr int most_masked = 6;

template <int P>
struct Series {
    long n_steps = 0;
    const double* values = nullptr;        // missing entries hold 0
    const unsigned char* mask = nullptr;   // bit i: entry i is observed; null if everything is
    std::vector<double> squares;           // sum y y' per pattern (its diagonal alone for a diagonal R)
    std::vector<double> counts;            // rows per pattern
};

// ---------------------------------------------------------------------------------------------- workspace

// Fresh memory comes from the kernel each time; it is what new output arrays cost.
class Pages {
public:
    Pages() = default;
    explicit Pages(std::size_t n) : bytes_(std::max<std::size_t>(n, 1) * sizeof(double)) {
        void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fail("out of memory");
        if (bytes_ >= (std::size_t(4) << 20)) madvise(memory, bytes_, MADV_HUGEPAGE);   // as numpy does
        memory_ = static_cast<double*>(memory);
    }
    Pages(Pages&& other) noexcept { swap(other); }
    Pages& operator=(Pages&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Pages() {
        if (memory_ != nullptr) munmap(memory_, bytes_);
    }
    double* data() const { return memory_; }

private:
    void swap(Pages& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(bytes_, other.bytes_);
    }
    double* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

template <int D>
struct Moments {
    Pages means, covs;
    Moments() = default;
    explicit Moments(long n_steps) : means(n_steps * D), covs(n_steps * D * D) {}
    double* mean(long t) const { return means.data() + t * D; }
    Matrix<D, D>& cov(long t) const { return reinterpret_cast<Matrix<D, D>*>(covs.data())[t]; }
};

// ---------------------------------------------------------------------------------------------- forward

// What the filter runs on: K values a row, y = h x + noise, beside a likelihood term that no state touches.
template <int D, int K>
struct Scalars {
    const double* values;
    const unsigned char* mask;
    Matrix<K, D> h;
    Matrix<K, K> noise;
    double leftover;
};

// `steady` is the step whose covariances hold for all later ones; n_steps if they never converged.
struct Passed {
    double log_likelihood;
    long steady;
};

class LogProduct {   // of pivots, with few logarithms
public:
    void times(double factor) {
        product_ *= factor;
        if (product_ > 1e100 || product_ < 1e-100) flush();
    }
    double total() {
        flush();
        return sum_;
    }

private:
    void flush() {
        sum_ += std::log(product_);
        product_ = 1.0;
    }
    double product_ = 1.0, sum_ = 0.0;
};

template <int D, int K, bool Masked, bool Freeze, bool Keep>
Passed forward(
    const Scalars<D, K>& scalars, const Matrix<D, D>& F, const Matrix<D, D>& Q, const Vector<D>& m,
    const Matrix<D, D>& P0, long n_steps, const Moments<D>& predicted, const Moments<D>& filtered) {
    const Matrix<D, D> F_transposed = transposed(F);
    const Matrix<D, K> h_transposed = transposed(scalars.h);
    Matrix<D, D> cov = P0, before, moved, next;
    Vector<D> mean = m;
    Matrix<K, D> spread, gain;
    Matrix<K, K> factor;
    double pivots[K], inverse[K], error[K];
    double squares = 0.0, n_values = 0.0;
    LogProduct determinants;
    const double zero[D] = {};
    long t = 0, steady = n_steps;
    for (; t < n_steps; t++) {
        if (Keep) {
            std::copy(mean.entry, mean.entry + D, predicted.mean(t));
            predicted.cov(t) = cov;
        }
        if (Freeze) before = cov;
        const double* y = scalars.values + t * K;
        for (int i = 0; i < K; i++) {
            error[i] = y[i];
            for (int j = 0; j < D; j++) error[i] -= scalars.h[i][j] * mean.entry[j];
        }
        multiply(scalars.h, cov, spread);
        factor = scalars.noise;
        for (int i = 0; i < K; i++)
            for (int k = 0; k < D; k++)
                for (int j = 0; j < K; j++) factor[i][j] += spread[i][k] * h_transposed[k][j];
        if (Masked) {   // a missing entry becomes one with unit variance and error 0 that sees nothing
            double seen[K];
            for (int i = 0; i < K; i++) seen[i] = (scalars.mask[t] >> i) & 1;
            for (int i = 0; i < K; i++) {
                n_values += seen[i];
                error[i] *= seen[i];
                for (int j = 0; j < D; j++) spread[i][j] *= seen[i];
                for (int j = 0; j < K; j++) factor[i][j] *= seen[i] * seen[j];
                factor[i][i] += 1.0 - seen[i];
            }
        }
        factorise(factor, pivots, inverse);
        solve_lower(factor, spread);
        double determinant = 1.0;
        for (int i = 0; i < K; i++) {
            for (int k = 0; k < i; k++) error[i] -= factor[i][k] * error[k];
            const double scaled = inverse[i] * error[i];
            squares += error[i] * scaled;
            determinant *= pivots[i];
            for (int j = 0; j < D; j++) {
                mean.entry[j] += spread[i][j] * scaled;
                gain[i][j] = spread[i][j] * inverse[i];
            }
        }
        determinants.times(determinant);
        add_cross(gain, spread, -1.0, cov);
        if (Keep) {
            std::copy(mean.entry, mean.entry + D, filtered.mean(t));
            filtered.cov(t) = cov;
        }
        apply<D, D>(F_transposed, mean.entry, zero, mean.entry);
        multiply(F, cov, moved);
        next = Q;
        for (int i = 0; i < D; i++)
            for (int k = 0; k < D; k++)
                for (int j = 0; j < D; j++) next[i][j] += moved[i][k] * F_transposed[k][j];
        if (Freeze && is_near(next, before)) {
            steady = t++;
            break;
        }
        cov = next;
    }
    if (!Masked) n_values = double(t) * K;
    double logs = determinants.total();
    if (Freeze && steady < n_steps) {
        // From here the means alone move: filtered = keep predicted + gain y, predicted = F filtered.
        solve_upper(factor, inverse, spread);
        const Matrix<D, K> steady_gain = transposed(spread);
        Matrix<D, D> keep, keep_moved;
        Matrix<D, K> gain_moved;
        multiply(steady_gain, scalars.h, keep);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) keep[i][j] = (i == j) - keep[i][j];
        multiply(F, keep, keep_moved);
        multiply(F, steady_gain, gain_moved);
        const Matrix<D, D> keep_t = transposed(keep), keep_moved_t = transposed(keep_moved);
        const Matrix<K, D> gain_t = transposed(steady_gain), gain_moved_t = transposed(gain_moved);
        Matrix<K, K> products{};
        const long n_left = n_steps - t;
        for (; t < n_steps; t++) {
            const double* y = scalars.values + t * K;
            double input[D];
            for (int i = 0; i < K; i++) {
                error[i] = y[i];
                for (int j = 0; j < D; j++) error[i] -= scalars.h[i][j] * mean.entry[j];
            }
            for (int i = 0; i < K; i++)
                for (int j = 0; j <= i; j++) products[i][j] += error[i] * error[j];
            if (Keep) {
                std::copy(mean.entry, mean.entry + D, predicted.mean(t));
                apply<D, K>(gain_t, y, zero, input);
                apply<D, D>(keep_t, mean.entry, input, filtered.mean(t));
            }
            apply<D, K>(gain_moved_t, y, zero, input);
            apply<D, D>(keep_moved_t, mean.entry, input, mean.entry);
        }
        for (int i = 0; i < K; i++)
            for (int j = 0; j < i; j++) products[j][i] = products[i][j];
        solve_lower(factor, products);
        solve_upper(factor, inverse, products);
        for (int i = 0; i < K; i++) {
            squares += products[i][i];
            logs += n_left * std::log(pivots[i]);
        }
        n_values += double(n_left) * K;
    }
    return {-0.5 * (n_values * log_2pi + logs + squares) + scalars.leftover, steady};
}

// ---------------------------------------------------------------------------------------------- backward

// Runs back over the filtered states and calls take(t, mean, cov, lag_one, is_new); lag_one is Cov[x[t+1], x[t]].
// In the frozen middle cov and lag_one no longer move: there is_new is false.
template <int D, bool Freeze, class Take>
void backward(
    const Matrix<D, D>& F, long n_steps, long steady, const Moments<D>& predicted, const Moments<D>& filtered,
    Take&& take) {
    Matrix<D, D> cov = filtered.cov(std::min(n_steps - 1, steady)), lag_one{}, next{}, moved{}, gain_t{}, factor{};
    double mean[D], pivots[D], inverse[D], change[D];
    std::copy(filtered.mean(n_steps - 1), filtered.mean(n_steps - 1) + D, mean);
    take(n_steps - 1, mean, cov, lag_one, true);
    bool has_gain = false, is_flat = false;
    for (long t = n_steps - 2; t >= 0; t--) {
        const bool is_steady = Freeze && t >= steady;
        if (!is_steady || !has_gain) {
            const Matrix<D, D>& now = filtered.cov(std::min(t, steady));
            multiply(F, now, moved);
            factor = predicted.cov(std::min(t + 1, steady));
            factorise(factor, pivots, inverse);
            gain_t = moved;
            solve_lower(factor, gain_t);
            solve_upper(factor, inverse, gain_t);
            has_gain = is_steady;
        }
        const double* ahead = predicted.mean(t + 1);
        for (int j = 0; j < D; j++) change[j] = mean[j] - ahead[j];
        apply<D, D>(gain_t, change, filtered.mean(t), mean);
        bool is_new = true;
        if (is_steady && is_flat) {
            is_new = false;
        } else {
            // V[t] = P + G (V[t+1] - Pp) G' with Pp G' = F P: one product fewer.
            multiply(cov, gain_t, lag_one);
            Matrix<D, D> difference;
            for (int i = 0; i < D * D; i++) difference.entry[i] = lag_one.entry[i] - moved.entry[i];
            next = filtered.cov(std::min(t, steady));
            add_cross(gain_t, difference, 1.0, next);
            for (int i = 0; i < D; i++)
                for (int j = 0; j < i; j++) next[i][j] = next[j][i] = 0.5 * (next[i][j] + next[j][i]);
            is_flat = is_steady && is_near(next, cov);
            cov = next;
        }
        take(t, mean, cov, lag_one, is_new);
    }
}

// ---------------------------------------------------------------------------------------------- EM

template <int D, int P>
struct Sums {
    std::vector<Matrix<D, D>> states;        // sum E[x x'] per pattern
    std::vector<Matrix<P, D>> crosses;       // sum y E[x]' per pattern
    Matrix<D, D> lagged;                     // sum E[x[t+1] x[t]']
    Vector<D> first_mean, last_mean;
    Matrix<D, D> first_cov, last_cov;
};

// A linear solve with a symmetric positive definite matrix: result = right matrix^-1, right (A, D).
template <int A, int D>
Matrix<A, D> over(const Matrix<A, D>& right, Matrix<D, D> matrix) {
    double pivots[D], inverse[D];
    factorise(matrix, pivots, inverse);
    Matrix<D, A> solution = transposed(right);
    solve_lower(matrix, solution);
    solve_upper(matrix, inverse, solution);
    return transposed(solution);
}

// E[y | x, observed entries] = B x + G y: fills the moments of y that a pattern leaves open (G and W by elimination).
template <int D, int P>
void complete(
    unsigned pattern, double n_rows, const Model<D, P>& model, const Matrix<D, D>& states, Matrix<P, D>& cross,
    Matrix<P, P>& square) {
    std::vector<int> seen, open;
    for (int i = 0; i < P; i++) ((pattern >> i) & 1 ? seen : open).push_back(i);
    const int n = int(seen.size());
    // Gauss-Jordan on [R_oo | I], small and once a pattern.
    std::vector<double> table(n * 2 * n, 0.0);
    auto at = [&](int i, int j) -> double& { return table[i * 2 * n + j]; };
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) at(i, j) = model.R[seen[i]][seen[j]];
        at(i, n + i) = 1.0;
    }
    for (int i = 0; i < n; i++) {
        const double pivot = at(i, i);
        for (int j = 0; j < 2 * n; j++) at(i, j) /= pivot;
        for (int k = 0; k < n; k++) {
            if (k == i) continue;
            const double scale = at(k, i);
            for (int j = 0; j < 2 * n; j++) at(k, j) -= scale * at(i, j);
        }
    }
    Matrix<P, P> G{}, W{};
    Matrix<P, D> B{};
    for (int i = 0; i < n; i++) G[seen[i]][seen[i]] = 1.0;
    for (int i : open) {
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++) G[i][seen[a]] += model.R[i][seen[b]] * at(b, n + a);
        for (int j = 0; j < D; j++) {
            B[i][j] = model.H[i][j];
            for (int a = 0; a < n; a++) B[i][j] -= G[i][seen[a]] * model.H[seen[a]][j];
        }
        for (int j : open) {
            W[i][j] = model.R[i][j];
            for (int a = 0; a < n; a++) W[i][j] -= G[i][seen[a]] * model.R[seen[a]][j];
        }
    }
    Matrix<P, D> full_cross, part;
    multiply(B, states, full_cross);
    multiply(G, cross, part);
    for (int i = 0; i < P * D; i++) full_cross.entry[i] += part.entry[i];
    // E[y y'] = (B S + G C) B' + (B C' + G Y) G' + n W
    Matrix<P, P> mixed, outer, inner, whole;
    multiply(full_cross, transposed(B), whole);
    multiply(B, transposed(cross), mixed);
    multiply(G, square, inner);
    for (int i = 0; i < P * P; i++) mixed.entry[i] += inner.entry[i];
    multiply(mixed, transposed(G), outer);
    for (int i = 0; i < P * P; i++) square.entry[i] = whole.entry[i] + outer.entry[i] + n_rows * W.entry[i];
    cross = full_cross;
}

template <int D, int P>
void maximise(const Sums<D, P>& sums, const Series<P>& series, bool diagonal, const Model<D, P>& old, Model<D, P>& next) {
    const double n_steps = double(series.n_steps);
    const int n_patterns = int(sums.states.size());
    Matrix<D, D> all{}, early, late;
    for (const auto& states : sums.states)
        for (int i = 0; i < D * D; i++) all.entry[i] += states.entry[i];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            early[i][j] = all[i][j] - sums.last_mean.entry[i] * sums.last_mean.entry[j] - sums.last_cov[i][j];
            late[i][j] = all[i][j] - sums.first_mean.entry[i] * sums.first_mean.entry[j] - sums.first_cov[i][j];
        }
    next.F = over(sums.lagged, early);
    Matrix<D, D> explained;
    multiply(next.F, transposed(sums.lagged), explained);
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            next.Q[i][j] = (late[i][j] - 0.5 * (explained[i][j] + explained[j][i])) / (n_steps - 1.0);
    next.m = sums.first_mean;
    next.P0 = sums.first_cov;
    static Matrix<P, D> cross, one_cross;
    cross = {};
    if (diagonal) {
        cross = sums.crosses[0];
        next.H = over(cross, all);
        for (int i = 0; i < P; i++) {
            double sum = series.squares[i];
            for (int j = 0; j < D; j++) sum -= next.H[i][j] * cross[i][j];
            next.R[i][i] = sum / n_steps;
        }
        return;
    }
    static Matrix<P, P> square, one_square;
    square = {};
    for (int c = 0; c < n_patterns; c++) {
        if (series.counts[c] == 0.0) continue;
        one_cross = sums.crosses[c];
        std::copy(&series.squares[std::size_t(c) * P * P], &series.squares[std::size_t(c + 1) * P * P], one_square.entry);
        if (n_patterns > 1 && c != n_patterns - 1)
            complete<D, P>(unsigned(c), series.counts[c], old, sums.states[c], one_cross, one_square);
        for (int i = 0; i < P * D; i++) cross.entry[i] += one_cross.entry[i];
        for (int i = 0; i < P * P; i++) square.entry[i] += one_square.entry[i];
    }
    next.H = over(cross, all);
    for (int i = 0; i < P; i++)
        for (int j = 0; j <= i; j++) {
            double sum = square[i][j];
            for (int k = 0; k < D; k++) sum -= 0.5 * (next.H[i][k] * cross[j][k] + next.H[j][k] * cross[i][k]);
            next.R[i][j] = next.R[j][i] = sum / n_steps;
        }
}

// ---------------------------------------------------------------------------------------------- one job

template <int D, int P>
class Job {
    static constexpr bool is_wide = P > D;
    static constexpr int K = is_wide ? D : P;
    static constexpr bool can_mask = !is_wide && P <= most_masked;

public:
    Job(const char* path, const std::string& kind, const std::string& variant)
        : kind_(kind), is_frozen_(variant.rfind("frozen", 0) == 0), is_fresh_(variant.find("fresh") != std::string::npos) {
        read(path);
        const long kept = kind_ == "log_likelihood" ? 1 : n_steps_;
        predicted_ = Moments<D>(kept);
        filtered_ = Moments<D>(kept);
        if (kind_ == "smooth") map_outputs();
        if (is_wide) reduced_ = Pages(n_steps_ * K);
        sums_.states.resize(n_patterns());
        sums_.crosses.resize(n_patterns());
    }

    void run() {
        log_likelihood_ = 0.0;
        for (std::size_t s = 0; s < series_.size(); s++) {
            const Model<D, P>& model = is_constant_ ? models_[0] : models_[s];
            if (is_masked_) {
                if constexpr (can_mask) run_series<true, false>(series_[s], model, learnt_[s]);
            } else if (is_frozen_) {
                run_series<false, true>(series_[s], model, learnt_[s]);
            } else {
                run_series<false, false>(series_[s], model, learnt_[s]);
            }
        }
    }

    void print(double seconds, double cpu_seconds, bool with_checks) {
        std::printf(
            "{\"seconds\": %.9g, \"cpu_seconds\": %.9g, \"log_likelihood\": %.17g", seconds, cpu_seconds, log_likelihood_);
        if (with_checks) {
            std::printf(", \"checks\": {");
            if (kind_ == "em") print_learnt();
            if (kind_ == "smooth") {
                print_sum("smoothed_means", smoothed_.means.data(), n_steps_, D, true);
                print_sum("smoothed_covs", smoothed_.covs.data(), n_steps_, D * D, false);
                print_sum("lag_one_covs", lag_one_.data(), n_steps_ - 1, D * D, false);
            }
            if (kind_ == "filter") {
                print_sum("filtered_means", filtered_.means.data(), n_steps_, D, true);
                print_sum("filtered_covs", filtered_.covs.data(), n_steps_, D * D, false);
            }
            std::printf("}");
        }
        std::printf("}\n");
        std::fflush(stdout);
    }

private:
    int n_patterns() const { return is_masked_ ? 1 << std::min(P, most_masked) : 1; }

    void map_outputs() {
        smoothed_ = Moments<D>(n_steps_);
        lag_one_ = Pages(n_steps_ * D * D);
    }

    void read(const char* path) {
        std::FILE* file = std::fopen(path, "rb");
        if (file == nullptr) fail("cannot open the case");
        auto take = [&](void* to, std::size_t bytes) {
            if (std::fread(to, 1, bytes, file) != bytes) fail("the case is too short");
        };
        std::int64_t head[5];
        take(head, sizeof head);
        if (head[0] != D || head[1] != P) fail("compiled for other sizes");
        n_steps_ = head[2];
        const long n_series = head[3];
        diagonal_ = head[4] != 0;
        models_.resize(1);
        Model<D, P>& model = models_[0];
        take(&model.F, sizeof model.F);
        take(&model.H, sizeof model.H);
        take(&model.Q, sizeof model.Q);
        take(&model.R, sizeof model.R);
        take(&model.m, sizeof model.m);
        take(&model.P0, sizeof model.P0);
        values_.resize(std::size_t(n_series) * n_steps_ * P);
        take(values_.data(), values_.size() * sizeof(double));
        std::fclose(file);
        is_constant_ = n_series == 1;
        models_.resize(n_series, models_[0]);
        learnt_ = models_;
        find_missing();
        series_.resize(n_series);
        for (long s = 0; s < n_series; s++) {
            Series<P>& one = series_[s];
            one.n_steps = n_steps_;
            one.values = &values_[std::size_t(s) * n_steps_ * P];
            one.mask = is_masked_ ? &mask_[std::size_t(s) * n_steps_] : nullptr;
            if (kind_ == "em" || is_wide) add_squares(one);
        }
    }

    void find_missing() {
        for (double value : values_) is_masked_ = is_masked_ || value != value;
        if (!is_masked_) return;
        if (!can_mask || diagonal_) fail("missing entries are not foreseen for these sizes");
        mask_.assign(values_.size() / P, 0);
        for (std::size_t i = 0; i < values_.size(); i++) {
            if (values_[i] == values_[i]) mask_[i / P] |= (unsigned char)(1 << (i % P));
            else values_[i] = 0.0;
        }
    }

    void add_squares(Series<P>& one) {
        const std::size_t size = diagonal_ ? P : std::size_t(P) * P;
        one.squares.assign(size * n_patterns(), 0.0);
        one.counts.assign(n_patterns(), 0.0);
        for (long t = 0; t < n_steps_; t++) {
            const int c = one.mask ? one.mask[t] : 0;
            const double* y = one.values + t * P;
            one.counts[c] += 1.0;
            double* total = &one.squares[c * size];
            for (int i = 0; i < P; i++) {
                if (diagonal_) total[i] += y[i] * y[i];
                else for (int j = 0; j < P; j++) total[i * P + j] += y[i] * y[j];
            }
        }
    }

    template <bool Masked, bool Freeze>
    void run_series(const Series<P>& series, const Model<D, P>& model, Model<D, P>& learnt) {
        Scalars<D, K> scalars;
        scalars.mask = series.mask;
        if constexpr (is_wide) {
            reduce(series, model, scalars);
        } else {
            scalars.values = series.values;
            scalars.h = model.H;
            scalars.noise = model.R;
            scalars.leftover = 0.0;
        }
        if (kind_ == "log_likelihood") {
            log_likelihood_ += forward<D, K, Masked, Freeze, false>(
                scalars, model.F, model.Q, model.m, model.P0, n_steps_, predicted_, filtered_).log_likelihood;
            return;
        }
        if (kind_ == "filter" && is_fresh_) {
            predicted_ = Moments<D>(n_steps_);
            filtered_ = Moments<D>(n_steps_);
        }
        const Passed passed = forward<D, K, Masked, Freeze, true>(
            scalars, model.F, model.Q, model.m, model.P0, n_steps_, predicted_, filtered_);
        log_likelihood_ += passed.log_likelihood;
        if (kind_ == "filter") {
            for (long t = passed.steady + 1; t < n_steps_; t++) {
                predicted_.cov(t) = predicted_.cov(passed.steady);
                filtered_.cov(t) = filtered_.cov(passed.steady);
            }
        } else if (kind_ == "smooth") {
            if (is_fresh_) map_outputs();
            auto* lags = reinterpret_cast<Matrix<D, D>*>(lag_one_.data());
            backward<D, Freeze>(
                model.F, n_steps_, passed.steady, predicted_, filtered_,
                [&](long t, const double* mean, const Matrix<D, D>& cov, const Matrix<D, D>& lag_one,
                    bool) __attribute__((always_inline)) {
                    std::copy(mean, mean + D, smoothed_.mean(t));
                    smoothed_.cov(t) = cov;
                    if (t < n_steps_ - 1) lags[t] = lag_one;
                });
        } else {
            add_up<Masked, Freeze>(series, model, passed.steady);
            maximise<D, P>(sums_, series, diagonal_, model, learnt);
        }
    }

    template <bool Masked, bool Freeze>
    void add_up(const Series<P>& series, const Model<D, P>& model, long steady) {
        for (auto& states : sums_.states) states = {};
        for (auto& cross : sums_.crosses) cross = {};
        sums_.lagged = {};
        Matrix<D, D> constant_cov{}, constant_lag{}, states{}, lagged{};
        double n_constant = 0.0, ahead[D] = {};
        auto flush = [&] {
            for (int i = 0; i < D * D; i++) {
                states.entry[i] += n_constant * constant_cov.entry[i];
                lagged.entry[i] += n_constant * constant_lag.entry[i];
            }
            n_constant = 0.0;
        };
        backward<D, Freeze>(
            model.F, n_steps_, steady, predicted_, filtered_,
            [&](long t, const double* mean, const Matrix<D, D>& cov, const Matrix<D, D>& lag_one,
                bool is_new) __attribute__((always_inline)) {
                const double* y = series.values + t * P;
                Matrix<D, D>& total = Masked ? sums_.states[series.mask[t]] : states;
                Matrix<P, D>& cross = sums_.crosses[Masked ? series.mask[t] : 0];
                for (int i = 0; i < D; i++)
                    for (int j = 0; j < D; j++) total[i][j] += mean[i] * mean[j];
                for (int i = 0; i < P; i++)
                    for (int j = 0; j < D; j++) cross[i][j] += y[i] * mean[j];
                if (t == n_steps_ - 1) {
                    std::copy(mean, mean + D, sums_.last_mean.entry);
                    sums_.last_cov = cov;
                } else {
                    for (int i = 0; i < D; i++)
                        for (int j = 0; j < D; j++) lagged[i][j] += ahead[i] * mean[j];
                }
                std::copy(mean, mean + D, ahead);
                if (is_new) {
                    if (Freeze && n_constant > 0.0) flush();
                    for (int i = 0; i < D * D; i++) {
                        total.entry[i] += cov.entry[i];
                        lagged.entry[i] += lag_one.entry[i];
                    }
                    if (Freeze) {
                        constant_cov = cov;
                        constant_lag = lag_one;
                    }
                } else {
                    n_constant += 1.0;
                }
                if (t == 0) {
                    std::copy(mean, mean + D, sums_.first_mean.entry);
                    sums_.first_cov = cov;
                }
            });
        flush();
        for (int i = 0; i < D * D; i++) {
            if (!Masked) sums_.states[0].entry[i] = states.entry[i];
            sums_.lagged.entry[i] += lagged.entry[i];
        }
    }

    void reduce(const Series<P>& series, const Model<D, P>& model, Scalars<D, K>& scalars) {
        static Matrix<P, D> weighted;   // R^-1 H
        static Matrix<P, P> factor, weighted_squares;
        double log_det = 0.0, total = 0.0;
        weighted = model.H;
        if (diagonal_) {
            for (int i = 0; i < P; i++) {
                const double precision = 1.0 / model.R[i][i];
                for (int j = 0; j < D; j++) weighted[i][j] *= precision;
                log_det -= std::log(precision);
                total += precision * series.squares[i];
            }
        } else {
            std::vector<double> pivots(P), inverse(P);
            factor = model.R;
            factorise(factor, pivots.data(), inverse.data());
            for (int i = 0; i < P; i++) log_det += std::log(pivots[i]);
            solve_lower(factor, weighted);
            solve_upper(factor, inverse.data(), weighted);
            std::copy(series.squares.begin(), series.squares.end(), weighted_squares.entry);
            solve_lower(factor, weighted_squares);
            solve_upper(factor, inverse.data(), weighted_squares);
            for (int i = 0; i < P; i++) total += weighted_squares[i][i];
        }
        Matrix<D, D> information{}, root;
        double pivots[D], inverse[D];
        add_cross(model.H, weighted, 1.0, information);
        root = information;
        factorise(root, pivots, inverse);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) root[i][j] = j > i ? 0.0 : (i == j ? 1.0 : root[i][j]) * std::sqrt(pivots[j]);
        // rows of `weights`: L^-1 H'R^-1, so that a reduced row is one product with y.
        Matrix<D, P>& weights = weights_;
        for (int i = 0; i < D; i++)
            for (int j = 0; j < P; j++) {
                double sum = weighted[j][i];
                for (int k = 0; k < i; k++) sum -= root[i][k] * weights[k][j];
                weights[i][j] = sum / root[i][i];
            }
        double squares = 0.0;
        const Matrix<P, D> by_sensor = transposed(weights);
        const double zero[D] = {};
        for (long t = 0; t < n_steps_; t++) {
            double* z = reduced_.data() + t * K;
            apply<D, P>(by_sensor, series.values + t * P, zero, z);
            for (int i = 0; i < K; i++) squares += z[i] * z[i];
        }
        scalars.values = reduced_.data();
        if constexpr (K == D) scalars.h = transposed(root);
        scalars.noise = {};
        for (int i = 0; i < K; i++) scalars.noise[i][i] = 1.0;
        const double n_steps = double(n_steps_);
        scalars.leftover = -0.5 * (n_steps * (P - D) * log_2pi + n_steps * log_det + total - squares);
    }

    void print_block(const char* name, const std::vector<double>& block, bool is_first) const {
        std::printf("%s\"%s\": [", is_first ? "" : ", ", name);
        for (std::size_t i = 0; i < block.size(); i++) std::printf("%s%.17g", i ? ", " : "", block[i]);
        std::printf("]");
    }

    void print_sum(const char* name, const double* rows, long n_rows, int width, bool is_first) const {
        std::vector<double> total(width, 0.0);
        for (long t = 0; t < n_rows; t++)
            for (int j = 0; j < width; j++) total[j] += rows[t * width + j];
        print_block(name, total, is_first);
    }

    // The mean over the series of every learnt parameter.
    void print_learnt() const {
        auto mean = [&](const char* name, int size, bool is_first, auto entry) {
            std::vector<double> total(size, 0.0);
            for (const auto& one : learnt_)
                for (int i = 0; i < size; i++) total[i] += entry(one, i) / double(learnt_.size());
            print_block(name, total, is_first);
        };
        mean("F", D * D, true, [](const auto& one, int i) { return one.F.entry[i]; });
        mean("H", P * D, false, [](const auto& one, int i) { return one.H.entry[i]; });
        mean("Q", D * D, false, [](const auto& one, int i) { return one.Q.entry[i]; });
        const bool diagonal = diagonal_;
        mean("R", diagonal ? P : P * P, false, [diagonal](const auto& one, int i) {
            return diagonal ? one.R[i][i] : one.R.entry[i];
        });
        mean("m", D, false, [](const auto& one, int i) { return one.m.entry[i]; });
        mean("P", D * D, false, [](const auto& one, int i) { return one.P0.entry[i]; });
    }

    std::string kind_;
    bool is_frozen_, is_fresh_, is_constant_ = true, is_masked_ = false, diagonal_ = false;
    long n_steps_ = 0;
    double log_likelihood_ = 0.0;
    std::vector<Model<D, P>> models_, learnt_;
    std::vector<Series<P>> series_;
    std::vector<double> values_;
    std::vector<unsigned char> mask_;
    Moments<D> predicted_, filtered_, smoothed_;
    Pages lag_one_, reduced_;
    Matrix<D, P> weights_;
    Sums<D, P> sums_;
};

double cpu_now() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

}  // namespace

int main(int n_arguments, char** arguments) {
    if (n_arguments != 4) fail("usage: reference CASE KIND VARIANT");
    auto* job = new Job<STATE_DIM, OBS_DIM>(arguments[1], arguments[2], arguments[3]);
    std::printf("{\"ready\": true}\n");
    std::fflush(stdout);
    bool is_first = true;
    for (std::string line; std::getline(std::cin, line); is_first = false) {
        const double cpu = cpu_now();
        const auto start = std::chrono::steady_clock::now();
        job->run();
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        job->print(elapsed.count(), cpu_now() - cpu, is_first);
    }
    delete job;
    return 0;
}
