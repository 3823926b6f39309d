/* How the words of a greeting are joined. */
#define SEPARATOR " "
#define END "!\n"
