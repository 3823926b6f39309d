/* Prints a greeting, its arguments and $NAME. */
#include <stdio.h>
#include <stdlib.h>

#include "words.h"

int main(int argc, char **argv) {
  fputs(GREETING, stdout);
  for (int i = 1; i < argc; i++) {
    printf(SEPARATOR "%s", argv[i]);
  }
  const char *name = getenv("NAME");
  printf(SEPARATOR "%s" END, name ? name : "nobody");
  return 0;
}
