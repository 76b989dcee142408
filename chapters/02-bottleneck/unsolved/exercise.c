/* Exercise 2: weight decay.

   To the error we add a penalty on large weights, strength/2 times the sum of all their squares.
   The biases are left alone. The penalty is here. Write its gradient, then run

       make exercise2

   The derivative of strength/2 w^2 is one you know. What needs care is where it goes: the gradients
   of the error stand in the same places already. Everything that bottleneck.c defines
   may be used. */

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
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)net, (void)strength;
}
