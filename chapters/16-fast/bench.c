/* bench.c: what `make bench` measures of chapter 5's program. It includes it, in float, and does
   one thing at a call, so that bench.sh can take turns between it and its peers:

     bench peak               billions of operations a second that multiply-adds alone can reach
     bench weights FILE       writes the weights that all begin with (raw floats, tensor after tensor, (in,out))
     bench train DATA EPOCHS BATCH IMAGES WIDTH
                              seconds of each epoch, and its mean training loss; the images in the order of the file

   The number of cores is OMP_NUM_THREADS. With -DBLAS the three products go to a BLAS instead of
   our own function; the file that it then includes is the program with `multiply` renamed. */
#define WORKBOOK_TEST
#ifdef BLAS
#include <cblas.h>
#include <stddef.h>
void multiply(float *C, const float *A, size_t row, size_t col, const float *B, size_t M, size_t N,
              size_t K);
#include "renamed.c"
void multiply(float *C, const float *A, size_t row, size_t col, const float *B, size_t M, size_t N,
              size_t K) {
    if (M)
        cblas_sgemm(CblasRowMajor, col == 1 ? CblasNoTrans : CblasTrans, CblasNoTrans, (int)M,
                    (int)N, (int)K, 1, A, (int)(col == 1 ? row : col), B, (int)N, 1, C, (int)N);
}
#else
#include "../05-autoencoder/autoencoder.c"
#endif

/* Sixteen sums that do not wait for each other: nothing but multiply-adds, in registers. */
enum { SUMS = 16, ROUNDS = 4000000 };
vector multiply_adds(real start) {
    vector c[SUMS], x = start - (vector){0}, sum = {0};
    for (int j = 0; j < SUMS; j++)
        c[j] = x * (real)j; /* all different, or the compiler computes one for all */
    for (long r = 0; r < ROUNDS; r++)
        for (int j = 0; j < SUMS; j++)
            c[j] = c[j] * x + x;
    for (int j = 0; j < SUMS; j++)
        sum += c[j];
    return sum;
}

/* The best of a few tries, in billions of operations a second, on all cores of the team. */
double peak(void) {
    double best = 0;
    for (int try = 0; try < 5; try++) {
        volatile real start = (real)0.999, kept[64];
        size_t team = 1;
        double began = seconds();
        TEAM {
            vector sum = multiply_adds(start);
            kept[core() % 64] = sum[0];
            if (core() == 0)
                team = cores();
        }
        best = fmax(best, 2e-9 * SUMS * WIDTH * ROUNDS * (double)team / (seconds() - began));
        (void)kept;
    }
    return best;
}

struct network fresh(size_t width, size_t rows) {
    const size_t widths[] = {PIXELS, 400 * width / 100, 100 * width / 100, 6};
    struct network net = network_new(widths, 4, 1, RELU, rows);
    struct random r;
    random_seed(&r, 1);
    network_start(&net, &r);
    TEAM {
        network_transpose(&net);
    }
    return net;
}

/* An epoch is `count` images, in the order of the file and from its beginning again where the file
   has fewer. */
void train(const char *data, size_t epochs, size_t batch, size_t count, size_t width) {
    struct images images = read_images(data, "train");
    struct network net = fresh(width, batch);
    struct trainer t = trainer_new(&net, BCE, 0);
    size_t *order = allocate(count, sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = i % images.count;
    for (size_t e = 0; e < epochs; e++) {
        double began = seconds(), bce = 0;
        for (size_t k = 0; k < count; k += batch)
            bce += train_step(&t, &images, order + k, least(batch, count - k), 1e-3).bce;
        printf("%.6f %.6f\n", seconds() - began, bce / (double)count);
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "peak") == 0) {
        printf("%.3f\n", peak());
    } else if (argc == 3 && strcmp(argv[1], "weights") == 0) {
        struct network net = fresh(100, 1);
        FILE *f = create("%s", argv[2]);
        fwrite(net.value, sizeof(real), net.parameters, f);
        finish(f);
    } else if (argc == 7 && strcmp(argv[1], "train") == 0) {
        train(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10),
              strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10));
    } else {
        fprintf(stderr, "bench: see the first lines of bench.c\n");
        return 2;
    }
    return 0;
}
