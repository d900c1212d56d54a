/*
 * A policy for a pole on a cart, in C99: no heap, nothing of the math library but tanhf, sinf and cosf.
 *
 *     #include "best.h"
 *     float newtons = cartpole_force(x, x_dot, theta, theta_dot);
 *
 *     x          m, positive to the right
 *     x_dot      m/s
 *     theta      rad, 0 upright, positive to the right
 *     theta_dot  rad/s
 *     newtons    N on the cart until the next call, from -10 to 10, positive to the right
 *
 * Call it CARTPOLE_CONTROL_HZ times a second. What is larger than 1e6 is read as 1e6; a state that is not a number has
 * outputs that are none, and a force of 0 (not with -ffast-math, which knows no such numbers).
 * The file was held against torch when it was written; cartpole_self_test() does so where it runs.
 */
#ifndef CARTPOLE_POLICY_H
#define CARTPOLE_POLICY_H

#include <math.h>

#define CARTPOLE_CONTROL_HZ @CONTROL_HZ@ /* 1/s, as it was trained */
#define CARTPOLE_OUTPUTS @OUTPUTS@ /* 2: logits of -10 N and +10 N; 1: a force in N */

#define CARTPOLE_LIMIT @LIMIT@
#define CARTPOLE_MAX_FORCE @MAX_FORCE@ /* N */
#define CARTPOLE_TRIG @TRIG@ /* 1: sees theta's sine and cosine instead of theta */
#define CARTPOLE_MAGNIFIED @MAGNIFIED@ /* how many numbers it sees again, as tanh of a multiple */
#define CARTPOLE_TANH @TANH@ /* hidden units: 1: tanh; 0: relu */
#define CARTPOLE_SQUASH @SQUASH@ /* outputs: 0: as they are; 1: clipped to -1 .. 1; 2: tanh */
#define CARTPOLE_CENTER @CENTER@ /* N, with a squash */
#define CARTPOLE_HALF_RANGE @HALF_RANGE@ /* N, with a squash */
#define CARTPOLE_LAYERS @LAYERS@
#define CARTPOLE_WIDTH @WIDTH@
#define CARTPOLE_PAIRS @PAIRS@
#define CARTPOLE_COLUMNS (4 + CARTPOLE_OUTPUTS + 1)

#ifdef __AVR__ /* has constants in flash memory only where it is told to */
#include <avr/pgmspace.h>
#define CARTPOLE_FLASH PROGMEM
#define CARTPOLE_READ(address) pgm_read_float(address)
#else
#define CARTPOLE_FLASH
#define CARTPOLE_READ(address) (*(address))
#endif

static const int cartpole_sizes[CARTPOLE_LAYERS + 1] = {@SIZES@};

/* What x, x_dot, theta and theta_dot are multiplied with; with CARTPOLE_TRIG x, x_dot and theta_dot. */
static const float cartpole_scale[] = {@SCALE@};

#if CARTPOLE_MAGNIFIED
static const float cartpole_magnification[] = {@MAGNIFICATION@};
#endif

/* Layer by layer, unit by unit: its bias, then its weights. */
static const float cartpole_numbers[] CARTPOLE_FLASH = {
@NUMBERS@
};

/* Rows of a state, torch's outputs for it, and how far from these one may be. */
static const float cartpole_golden[CARTPOLE_PAIRS * CARTPOLE_COLUMNS] CARTPOLE_FLASH = {
@GOLDEN@
};

/* What is known about the policy, as JSON. */
static inline const char *cartpole_info(void)
{
    return @INFO@;
}

static inline float cartpole_within(float value, float limit)
{
    return value < -limit ? -limit : value > limit ? limit : value;
}

/* What the ONNX file gives as its first output: CARTPOLE_OUTPUTS numbers. */
static inline void cartpole_outputs(float x, float x_dot, float theta, float theta_dot, float *outputs)
{
    float units[2][CARTPOLE_WIDTH];
    float *given = units[0];
    float *taken = units[1];
    const float *number = cartpole_numbers;

    x = cartpole_within(x, CARTPOLE_LIMIT);
    x_dot = cartpole_within(x_dot, CARTPOLE_LIMIT);
    theta = cartpole_within(theta, CARTPOLE_LIMIT);
    theta_dot = cartpole_within(theta_dot, CARTPOLE_LIMIT);
    given[0] = x * cartpole_scale[0];
    given[1] = x_dot * cartpole_scale[1];
#if CARTPOLE_TRIG
    given[2] = theta_dot * cartpole_scale[2];
    given[3] = sinf(theta);
    given[4] = cosf(theta);
#else
    given[2] = theta * cartpole_scale[2];
    given[3] = theta_dot * cartpole_scale[3];
#endif
#if CARTPOLE_MAGNIFIED
    for (int index = 0; index < CARTPOLE_MAGNIFIED; index++) {
        given[5 + index] = tanhf(given[index] * cartpole_magnification[index]);
    }
#endif
    for (int layer = 1; layer <= CARTPOLE_LAYERS; layer++) {
        for (int unit = 0; unit < cartpole_sizes[layer]; unit++) {
            float sum = CARTPOLE_READ(number++);
            for (int index = 0; index < cartpole_sizes[layer - 1]; index++) {
                sum += given[index] * CARTPOLE_READ(number++);
            }
            if (layer < CARTPOLE_LAYERS) {
#if CARTPOLE_TANH
                sum = tanhf(sum);
#else
                sum = sum < 0.0f ? 0.0f : sum;
#endif
            }
            taken[unit] = sum;
        }
        float *free_again = given;
        given = taken;
        taken = free_again;
    }
    for (int index = 0; index < CARTPOLE_OUTPUTS; index++) {
#if CARTPOLE_SQUASH == 1
        outputs[index] = CARTPOLE_CENTER + CARTPOLE_HALF_RANGE * cartpole_within(given[index], 1.0f);
#elif CARTPOLE_SQUASH == 2
        outputs[index] = CARTPOLE_CENTER + CARTPOLE_HALF_RANGE * tanhf(given[index]);
#else
        outputs[index] = given[index];
#endif
    }
}

/* The newtons to push the cart with until the next call. */
static inline float cartpole_force(float x, float x_dot, float theta, float theta_dot)
{
    float outputs[CARTPOLE_OUTPUTS];

    cartpole_outputs(x, x_dot, theta, theta_dot, outputs);
    if (outputs[0] != outputs[0]) { /* not a number */
        return 0.0f;
    }
#if CARTPOLE_OUTPUTS == 1
    return cartpole_within(outputs[0], CARTPOLE_MAX_FORCE);
#else
    return outputs[1] > outputs[0] ? CARTPOLE_MAX_FORCE : -CARTPOLE_MAX_FORCE;
#endif
}

/* How many of torch's outputs for some states come out otherwise here: 0. */
static inline int cartpole_self_test(void)
{
    float outputs[CARTPOLE_OUTPUTS];
    float row[CARTPOLE_COLUMNS];
    int wrong = 0;

    for (int pair = 0; pair < CARTPOLE_PAIRS; pair++) {
        int right = 1;
        for (int column = 0; column < CARTPOLE_COLUMNS; column++) {
            row[column] = CARTPOLE_READ(&cartpole_golden[pair * CARTPOLE_COLUMNS + column]);
        }
        cartpole_outputs(row[0], row[1], row[2], row[3], outputs);
        for (int index = 0; index < CARTPOLE_OUTPUTS; index++) {
            float error = outputs[index] - row[4 + index];
            float allowed = row[CARTPOLE_COLUMNS - 1];
            right = right && error >= -allowed && error <= allowed;
        }
        wrong += !right;
    }
    return wrong;
}

#endif
