/* bench.c: what `make bench` measures of this chapter's program. It includes it, in float, and does
   one thing at a call, so that bench.sh can take turns between it and its peers:

     bench weights FILE       writes the weights that all begin with (raw floats, tensor after tensor, (in,out))
     bench vae DATA EPOCHS BATCH IMAGES           or autoencoder in place of vae: the same step without noise and KL
                              seconds of each epoch, and its mean training loss; the images in the order of the file

   The number of cores is OMP_NUM_THREADS. */
#define WORKBOOK_TEST
#include "vae.c"

int main(int argc, char **argv) {
    int weights = argc == 3 && strcmp(argv[1], "weights") == 0;
    int with_noise = argc > 1 && strcmp(argv[1], "autoencoder") != 0;
    if (!weights && (argc != 6 || (with_noise && strcmp(argv[1], "vae") != 0))) {
        fprintf(stderr, "bench: see the first lines of bench.c\n");
        return 2;
    }
    const size_t size[] = {PIXELS, 400, 100, 6};
    size_t batch = weights ? 1 : strtoul(argv[4], NULL, 10);
    struct vae v = vae_new(size, 4, with_noise ? 2 : 1, RELU, batch, 1);
    struct random r, noise;
    random_seed(&r, 1); /* the same start for every rival */
    random_seed(&noise, 2);
    network_start(&v.net, &r);
    TEAM {
        network_transpose(&v.net);
    }
    if (weights) {
        FILE *f = create("%s", argv[2]);
        fwrite(v.net.value, sizeof(real), v.net.parameters, f);
        finish(f);
        return 0;
    }
    struct images images = read_images(argv[2], "train");
    size_t epochs = strtoul(argv[3], NULL, 10), count = strtoul(argv[5], NULL, 10);
    size_t *order = allocate(count, sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = i % images.count;
    for (size_t e = 0; e < epochs; e++) {
        double began = seconds(), sum = 0;
        for (size_t k = 0; k < count; k += batch) {
            size_t B = least(batch, count - k);
            if (with_noise)
                random_normal(v.noise, B * v.net.code, &noise);
            struct parts p = vae_step(&v, &images, order + k, B, 1e-3);
            sum += p.bce + p.kl;
        }
        printf("%.6f %.6f\n", seconds() - began, sum / (double)count);
    }
    return 0;
}
