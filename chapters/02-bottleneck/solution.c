/* A solution of exercise 2. The derivative of strength/2 w^2 is strength w, added to what the error
   has left in dW. */

/* strength/2 * sum of w^2 over the weights of all layers */
double decay_forward(const struct stack *net, double strength) {
    double sum = 0;
    for (size_t l = 0; l < net->depth; l++) {
        const struct dense *y = &net->layer[l];
        for (size_t k = 0; k < y->in * y->out; k++)
            sum += (double)y->W[k] * (double)y->W[k];
    }
    return strength / 2 * sum;
}

/* dW (out,in) of every layer: what the penalty adds. */
void decay_backward(struct stack *net, double strength) {
    for (size_t l = 0; l < net->depth; l++) {
        const struct dense *y = &net->layer[l];
        for (size_t k = 0; k < y->in * y->out; k++)
            y->dW[k] += (real)strength * y->W[k];
    }
}
