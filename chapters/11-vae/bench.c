/* bench.c: what `make bench` measures of this chapter's program. It includes it, in float, and does one thing at a call, so
   that bench.sh can take turns between it and its peers:

     bench weights FILE       writes the weights that all begin with (raw floats, tensor after tensor, (in,out))
     bench vae DATA EPOCHS BATCH IMAGES           or autoencoder in place of vae:
                              seconds of each epoch, and its mean training loss; the images in the order of the file

   The number of cores is OMP_NUM_THREADS. */
#define WORKBOOK_TEST
#include "vae.c"

const size_t size[] = {PIXELS, 400, 100, 6};

/* The same start for every rival. */
void start(struct network *net) {
    struct random r;
    random_seed(&r, 1);
    network_start(net, &r);
    TEAM {
        network_transpose(net);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "weights") == 0) {
        struct vae v = vae_new(size, 4, RELU, 1, 1);
        start(&v.net);
        struct output o = open_output(NULL, argv[2]);
        fwrite(v.net.value, sizeof(real), v.net.parameters, o.file);
        close_output(&o);
        return 0;
    }
    if (argc != 6 || (strcmp(argv[1], "vae") != 0 && strcmp(argv[1], "autoencoder") != 0)) {
        fprintf(stderr, "bench: see the first lines of bench.c\n");
        return 2;
    }
    size_t epochs = strtoul(argv[3], NULL, 10), batch = strtoul(argv[4], NULL, 10),
           count = strtoul(argv[5], NULL, 10);
    struct images images = read_images(argv[2], "train");
    size_t *order = allocate(count, sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = i % images.count;
    struct vae v = vae_new(size, 4, RELU, batch, 1);
    struct network net = network_new(size, 4, 1, RELU, batch);
    struct trainer t = {&net, adam_new(net.parameters), v.x, v.example, BCE, 0};
    struct random noise;
    random_seed(&noise, 2);
    start(&v.net);
    start(&net);
    for (size_t e = 0; e < epochs; e++) {
        double began = seconds(), sum = 0;
        for (size_t k = 0; k < count; k += batch) {
            size_t B = least(batch, count - k);
            if (argv[1][0] == 'v') {
                random_normal(v.noise, B * v.net.code, &noise);
                struct parts p = vae_step(&v, &images, order + k, B, 1e-3);
                sum += p.bce + p.kl;
            } else {
                sum += train_step(&t, &images, order + k, B, 1e-3).bce;
            }
        }
        printf("%.6f %.6f\n", seconds() - began, sum / (double)count);
    }
    return 0;
}
