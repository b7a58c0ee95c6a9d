
/*
 * Copyright (C) tb-rpc contributors.
 *
 * tb-rpc-demo-device: an MQTT device in one file.  It says that it is online
 * (retained, with a last will that says the opposite), takes calls on its
 * request topic and answers on its response topic:
 *
 *   getTemperature  {"temperature":21.5}
 *   setGpio         prints, does not answer (one-way)
 *   echo            the params
 *   mute            never answers
 *   text            an answer that is not JSON
 *   anything else   {"error":"unknown method"}
 *
 * With a file that has an access token it is one made for ThingsBoard: the
 * token is its user name, and its topics begin with v1/devices/me/.
 */


#define _POSIX_C_SOURCE  200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <mosquitto.h>


typedef struct {
    const char  *id;
    const char  *host;
    int          port;
    int          known;                /* by its token */
    char         online[64];
    char         offline[64];
    char         status[128];
    char         requests[128];
} demo_device_t;


static volatile sig_atomic_t  demo_stop;


static void
demo_signal(int signo)
{
    demo_stop = 1;
}


static void
demo_connected(struct mosquitto *mosq, void *data, int rc)
{
    demo_device_t  *dev = data;

    if (rc != 0) {
        fprintf(stderr, "device %s: refused: %s\n", dev->id,
                mosquitto_connack_string(rc));
        return;
    }

    mosquitto_subscribe(mosq, NULL, dev->requests, 1);
}


/* with a token nginx knows that it is there */

static void
demo_status(struct mosquitto *mosq, demo_device_t *dev, const char *text)
{
    if (!dev->known) {
        mosquitto_publish(mosq, NULL, dev->status, (int) strlen(text), text,
                          1, 1);
    }
}


/* only who can hear calls says that it is there */

static void
demo_subscribed(struct mosquitto *mosq, void *data, int mid, int n,
    const int *granted)
{
    demo_device_t  *dev = data;

    demo_status(mosq, dev, dev->online);

    printf("device %s online\n", dev->id);
}


static char *
demo_answer(const char *method, json_t *params)
{
    if (strcmp(method, "getTemperature") == 0) {
        return strdup("{\"temperature\":21.5}");
    }

    if (strcmp(method, "echo") == 0) {
        return json_dumps(params, JSON_ENCODE_ANY | JSON_COMPACT);
    }

    if (strcmp(method, "text") == 0) {
        return strdup("this is not JSON");
    }

    if (strcmp(method, "setGpio") == 0 || strcmp(method, "mute") == 0) {
        return NULL;
    }

    return strdup("{\"error\":\"unknown method\"}");
}


static void
demo_message(struct mosquitto *mosq, void *data,
    const struct mosquitto_message *msg)
{
    char           topic[256], *answer;
    json_t        *call, *params;
    const char    *method, *id;
    demo_device_t *dev = data;

    id = strrchr(msg->topic, '/') + 1;

    call = json_loadb(msg->payload, msg->payloadlen > 0 ? msg->payloadlen : 0,
                      JSON_ALLOW_NUL, NULL);
    method = json_string_value(json_object_get(call, "method"));
    params = json_object_get(call, "params");

    if (method == NULL || params == NULL) {
        fprintf(stderr, "device %s: not a call: %s\n", dev->id, msg->topic);
        json_decref(call);
        return;
    }

    printf("device %s call %s %.*s\n", dev->id, id, msg->payloadlen,
           (char *) msg->payload);

    answer = demo_answer(method, params);

    if (answer) {
        snprintf(topic, sizeof(topic), "v1/devices/%s/rpc/response/%s",
                 dev->id, id);
        mosquitto_publish(mosq, NULL, topic, (int) strlen(answer), answer, 1,
                          0);
        free(answer);
    }

    json_decref(call);
}


static int
demo_loop(struct mosquitto *mosq, demo_device_t *dev)
{
    int              rc;
    struct timespec  pause = { 0, 200000000 };

    rc = mosquitto_connect(mosq, dev->host, dev->port, 30);

    while (!demo_stop) {
        if (rc == MOSQ_ERR_SUCCESS) {
            rc = mosquitto_loop(mosq, 200, 1);
            continue;
        }

        nanosleep(&pause, NULL);
        rc = mosquitto_reconnect(mosq);
    }

    /* a clean disconnect sends no will: say it ourselves */

    demo_status(mosq, dev, dev->offline);
    mosquitto_disconnect(mosq);

    return 0;
}


static void
demo_names(demo_device_t *dev, const char *session)
{
    snprintf(dev->status, sizeof(dev->status), "v1/devices/%s/status",
             dev->id);
    snprintf(dev->requests, sizeof(dev->requests),
             "v1/devices/%s/rpc/request/+", dev->id);
    snprintf(dev->online, sizeof(dev->online), "online%s%.40s",
             session ? ":" : "", session ? session : "");
    snprintf(dev->offline, sizeof(dev->offline), "offline%s%.40s",
             session ? ":" : "", session ? session : "");
}


/* the first line of a file, which is no secret of the command line then */

static int
demo_token(const char *path, char *token, size_t size)
{
    FILE  *file;
    char  *line;

    file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        return -1;
    }

    line = fgets(token, (int) size, file);
    fclose(file);

    if (line == NULL) {
        fprintf(stderr, "%s: there is no token in it\n", path);
        return -1;
    }

    token[strcspn(token, "\r\n")] = '\0';

    return 0;
}


int
main(int argc, char **argv)
{
    int                rc, c;
    char               token[256];
    const char        *session, *file;
    demo_device_t      dev;
    struct sigaction   sa;
    struct mosquitto  *mosq;

    memset(&dev, 0, sizeof(dev));
    dev.host = "127.0.0.1";
    dev.port = 1883;
    session = NULL;
    file = NULL;

    while ((c = getopt(argc, argv, "H:p:d:s:t:")) != -1) {
        switch (c) {
        case 'H': dev.host = optarg; break;
        case 'p': dev.port = atoi(optarg); break;
        case 'd': dev.id = optarg; break;
        case 's': session = optarg; break;
        case 't': file = optarg; dev.id = "me"; break;
        default: dev.id = NULL; optind = argc + 1;
        }
    }

    if (dev.id == NULL || (strlen(dev.id) != 36 && file == NULL)
        || optind != argc)
    {
        fprintf(stderr, "Usage: tb-rpc-demo-device -d DEVICE_ID|-t TOKEN_FILE"
                " [-H host] [-p port] [-s session]\n");
        return 2;
    }

    if (file && demo_token(file, token, sizeof(token)) != 0) {
        return 1;
    }

    setvbuf(stdout, NULL, _IOLBF, 0);

    demo_names(&dev, session);

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = demo_signal;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);

    mosquitto_lib_init();

    mosq = mosquitto_new(dev.id, true, &dev);
    if (mosq == NULL) {
        fprintf(stderr, "no memory\n");
        return 1;
    }

    if (file) {
        dev.known = 1;
        mosquitto_username_pw_set(mosq, token, NULL);

    } else {
        mosquitto_will_set(mosq, dev.status, (int) strlen(dev.offline),
                           dev.offline, 1, true);
    }

    mosquitto_connect_callback_set(mosq, demo_connected);
    mosquitto_subscribe_callback_set(mosq, demo_subscribed);
    mosquitto_message_callback_set(mosq, demo_message);

    rc = demo_loop(mosq, &dev);

    mosquitto_destroy(mosq);
    mosquitto_lib_cleanup();

    return rc;
}
