# bench.awk: medians of what src/bench.sh measured. Lines are round, name, threads, seconds, loss; rounds count from 1.

{
    value[$1, $2, $3] = $4
    loss[$2, $3] = $5
    seen[$2] = 1
    if ($1 > rounds) rounds = $1
}

function median(list, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && list[j] < list[j-1]; j--) { t = list[j]; list[j] = list[j-1]; list[j-1] = t }
    return n % 2 ? list[(n+1)/2] : (list[n/2] + list[n/2+1]) / 2
}

# The median of what `name` took, and of that divided by what `other` took in the same round; 0 where neither was measured.
function middle(name, threads) { return ratio(name, "", threads) }
function ratio(name, other, threads,   i, n, v, list) {
    for (i = 1; i <= rounds; i++) {
        v = value[i, name, threads]
        if (v == "" || (other != "" && value[i, other, threads] == "")) continue
        list[++n] = other == "" ? v : v / value[i, other, threads]
    }
    return n ? median(list, n) : 0
}

function say(name, v, unit) { printf "%s\t%.6g\t%s\n", name, v, unit > results }
